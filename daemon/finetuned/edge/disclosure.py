"""What is told of labels, users and file names: `mqtt.disclose`.

Theory of operation.  Every field of every payload has a rule in one table, by its name in the payload.  Where not
everything may be told, a field without a rule is left out: what was forgotten here leaks nothing (and fails a test).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge.logs import get_logger
from finetuned.service.batch import DUPLICATE, RELABELLED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from finetuned.edge.requests import Handler

ALL, COUNTS, NONE = "all", "counts", "none"
UNTOLD = "not told here (mqtt.disclose): the daemon's log tells it"
UNTOLD_SAMPLE = "not told here (mqtt.disclose): the folder rejected/ or the inbox tells it"
MADE_UP_BYTES = 5
log = get_logger("disclosure")

# Refusals that can name nobody but whom the asker named: sentences of ours that begin so hold ids, numbers, and names of
# models and parameters.
HARMLESS = re.compile(
    r"a retained request is refused|\d+ bytes are too many|needs a `transaction`|`expires` is no time"
    r"|the payload is not a JSON object|this transaction was a |'\w{1,40}' is not obeyed; allowed|the request expired at "
    r"|an error of the daemon's own|the response topic must be below |there is no request |there is no task \w+; alive are|task \w+ has ended: "
    r"|there is no model named [^\n]*; registered are|there is no version \d+ of model |the base of model "
    r"|task \w+ of model [^\n]* is \w+; wait until it has ended|model [^\n]* has no samples to train on; drop "
    r"|there is no such (user|sample) of model |there is no sample of this label of model |forget: (name|a sample is named) "
    r"|'[^\n]{1,40}' is no mode; there are|a mode lasts |auto takes no duration"
    r"|(model \S+: )?(\w+=[^\n]{1,80} is (not|neither) |the model has no parameter |a running task takes )"
    r"|\w+: (Expected|Object missing|Object contains unknown field)[^\n]*; it takes "
)


class Rule(Enum):
    """What becomes of a field where not everything is told."""

    same = auto()
    """Stays: an id, a number, a word of ours, the name of a model, a device, a sensor or a parameter."""
    inside = auto()
    """Has fields of its own, each with its rule."""
    user = auto()
    label = auto()
    by_label = auto()
    """Numbers by label, or their sum under ""; a plain number stays."""
    left_out = auto()
    models = auto()
    """States of models and users."""
    words = auto()
    """Free text: it may name anybody."""
    texts = auto()
    sample_words = auto()


def _rules(**fields: Iterable[str]) -> Mapping[str, Rule]:
    return MappingProxyType({name: Rule[rule] for rule, names in fields.items() for name in names})


RULES = _rules(
    same=(
        *(
            "type",
            "id",
            "ts",
            "node",
            "model",
            "task",
            "attempt",
            "step",
            "device",
            "kind",
            "fault",
            "version",
            "parent",
        ),
        *(
            "fromVersion",
            "sha256",
            "promotion",
            "promotionReason",
            "durationSeconds",
            "count",
            "versions",
            "heldOut",
        ),
        *(
            "pace",
            "duty",
            "cores",
            "reasons",
            "zone",
            "reading",
            "trip",
            "causes",
            "readings",
            "parameters",
            "mode",
        ),
        *(
            "forSeconds",
            "modeLeftSeconds",
            "running",
            "queued",
            "waitingSamples",
            "current",
            "candidate",
            "taskState",
        ),
        *("progress", "etaSeconds", "epoch", "epochs", "batch", "batches", "lastMiniBatchLoss"),
        *("epochIndex", "miniBatchIndex", "lossValue", "accuracy", "meanAbsoluteError"),
    ),
    inside=("metrics", "candidateMetrics", "validation", "before", "after", "state", "tasks"),
    user=("user",),
    label=("label",),
    by_label=("samples",),
    # `sample` is the SHA-256 of a file: whoever has the file knows it again.
    left_out=("name", "sample"),
    models=("models",),
    words=("error",),
    texts=("warnings",),
    sample_words=("reason",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """Between the daemon and the broker: everything that leaves goes through it.

    `level` is `all`, `counts` or `none`; `key` makes the made-up names of this node (`counts`) unguessable; `models`
    gives the names of the models there are: any other is a folder's, called as somebody liked.
    """

    level: str = ALL
    key: bytes = b""
    models: Callable[[], Collection[str]] = field(default=tuple)

    def event(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Return an event as it may be told; None: not at all."""
        if self.level == ALL:
            return payload
        of_sample = payload.get("type") in {"sampleAccepted", "sampleRejected", "sampleWaiting"}
        if of_sample and self.level == NONE:
            return None
        told: dict[str, Any] = self._told(payload)
        if of_sample and told.get("model") not in self.models():
            told.pop("model", None)
        return {name: value for name, value in told.items() if value != ""}

    def state(self, key: str, payload: bytes) -> tuple[str, bytes] | None:
        """Return the outbox's key of a retained state, and its payload, as they may be told; None: not at all."""
        if self.level == ALL:
            return key, payload
        kind, *names = key.split("/")
        if kind == "model" and len(names) > 1:
            if self.level == NONE:
                return None
            key = "/".join((kind, names[0], self._made_up("user", names[1])))
        return key, msgspec.json.encode(self._told(msgspec.json.decode(payload)))

    def answer(self, data: Any) -> Any:  # noqa: ANN401 - JSON
        """Return a response's data as it may be told."""
        return data if self.level == ALL else self._told(msgspec.to_builtins(data))

    def error(self, sentence: str) -> str:
        """Return a refusal as it may be told."""
        if self.level == ALL or HARMLESS.match(sentence):
            return sentence
        log.info("a request was refused", reason=sentence)
        return f"refused, and why is {UNTOLD}"

    def user(self, told: str, known: Iterable[str]) -> str:
        """Return whom a request means: one of the known users by their made-up name, or who is named."""
        return self._meant("user", told, known)

    def label(self, told: str, known: Iterable[str]) -> str:
        """Return which label a request means: one of the known ones by its made-up name, or the one that is named."""
        return self._meant("label", told, known)

    # ── rules ───────────────────────────────────────────────────────────────────────────────────
    def _told(self, value: Any) -> Any:  # noqa: ANN401 - JSON, both times
        if isinstance(value, list | tuple):
            return [self._told(each) for each in value]
        if not isinstance(value, dict):
            return value
        rules = ((name, each, RULES.get(name, Rule.left_out)) for name, each in value.items())
        return {name: self._ruled(rule, each) for name, each, rule in rules if rule is not Rule.left_out}

    def _ruled(self, rule: Rule, value: Any) -> Any:  # noqa: ANN401, PLR0911 - a table in the shape of a match
        match rule:
            case Rule.inside:
                return self._told(value)
            case Rule.user | Rule.label:
                return self._made_up(rule.name, value)
            case Rule.by_label:
                return self._by_label(value)
            case Rule.models:
                return [self._told(each) for each in value if self.level == COUNTS or not each.get("user")]
            case Rule.words:
                return UNTOLD if value else value
            case Rule.texts:
                return [f"{len(value)} of them: {UNTOLD}"] if value else value
            case Rule.sample_words:
                return value if value in {"", DUPLICATE, RELABELLED} else UNTOLD_SAMPLE
            case _:
                return value

    def _by_label(self, value: Any) -> Any:  # noqa: ANN401 - a number, or numbers by label
        if not isinstance(value, dict):
            return value
        if self.level == COUNTS:
            return {self._made_up("label", label): n for label, n in value.items()}
        return {"": sum(value.values())} if value else {}

    # ── made-up names ───────────────────────────────────────────────────────────────────────────
    def _made_up(self, kind: str, name: str) -> str:
        """Return a name that is always the same for this one, on this node, and says nothing of it; "" stays, or becomes of all."""
        if not name or self.level == NONE:
            return ""
        text = name.encode("utf-8", "surrogatepass")
        return f"{kind}-{blake2b(text, key=self.key, person=kind.encode(), digest_size=MADE_UP_BYTES).hexdigest()}"

    def _meant(self, kind: str, told: str, known: Iterable[str]) -> str:
        if self.level != COUNTS or not told.startswith(f"{kind}-"):
            return told
        there = tuple(known)
        return told if told in there else next((n for n in there if self._made_up(kind, n) == told), told)


def understanding(
    handler: Handler,
    disclosure: Disclosure,
    known: Callable[[str], Awaitable[tuple[Collection[str], Collection[str]]]],
) -> Handler:
    """Return a handler of requests that may name users and labels by their made-up names.

    `known` gives a model's users and labels.
    """

    async def handle(verb: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - as the handler has it
        told = {key: body[key] for key in ("user", "label") if str(body.get(key)).startswith(f"{key}-")}
        if told:
            users, labels = await known(str(body.get("model")))
            for key, means, there in (("user", disclosure.user, users), ("label", disclosure.label, labels)):
                told |= {key: means(told[key], there)} if key in told else {}
        return await handler(verb, {**body, **told})

    return handle if disclosure.level == COUNTS else handler
