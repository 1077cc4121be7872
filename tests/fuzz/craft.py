"""What a request can be that it should not be: bytes, JSON, types, topics, flags and properties, drawn from a seed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from finetuned.edge.payloads import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

MODEL = "digits"
DEEP = 10_000
# As JSON, where it is any; what no JSON has is among them.
VALUES = (
    *(
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e999",
        "-1e-999",
        "NaN",
        "Infinity",
        "1e308",
        "9" * 400,
        "-0",
        "01",
    ),
    *(
        str(2**63),
        str(2**64),
        '""',
        '"x"',
        '"all"',
        '" "',
        '"\\u0000"',
        '"\\ud800"',
        '"\\udc00\\ud800"',
        '"\\u202e"',
    ),
    *(
        '"../../etc/passwd"',
        '"+/#"',
        '"$SYS"',
        f'"{"y" * 20_000}"',
        '"\U0001f44b"',
        '"\x01"',
        "'x'",
        "[]",
        "{}",
    ),
    *(
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
        "[null]",
        '{"":null}',
        '{"learningRate": "x"}',
    ),
    *(
        '{"epochs": 1e999}',
        '{"learningRate": NaN}',
        '{"learningRate": 9' + "0" * 400 + "}",
        '"2026-11-23"',
        "",
    ),
)
GOOD = {
    "transaction": '"t"',
    "expires": '"2099-01-01T00:00:00Z"',
    "model": f'"{MODEL}"',
    "user": '""',
    "parameters": '{"learningRate": 0.01}',
    "task": '"all"',
    "version": "1",
    "mode": '"auto"',
    "forSeconds": "3600",
    "label": '"0"',
    "sample": f'"{"a" * 64}"',
}
EXPIRES = (
    *(
        '"2020-01-01T00:00:00Z"',
        '"2020-01-01"',
        '"soon"',
        '"0001-01-01T00:00:00+23:59"',
        '"9999-12-31T23:59:59-23:59"',
    ),
    *(
        '""',
        "1",
        '"2026-W48-1T00:00:00Z"',
        '"2099-01-01T00:00:00+24:00"',
        f'"{"9" * 5000}"',
        '"2099-01-01T00:00:00Z\\u0000"',
    ),
)
LEVELS = (
    *(
        "../train",
        "..",
        "train/",
        "/train",
        "//",
        "a/b/c",
        "%00",
        "%2B",
        "train%20",
        "TRAIN",
        "träin",
        " ",
        "$SYS",
        "status ",
    ),
    *("t" * 64, "t" * 65, "\U0001f44b", "t" * 60_000, "/".join("abcdefgh" * 8)),
)
MAX_VERB = 64
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A publish to request/<verb>; `transaction` is what its answer must carry, None where that is for the daemon to find."""

    verb: str
    payload: bytes
    kind: str
    transaction: str | None = None
    retain: bool = False
    properties: Properties | None = None

    @property
    def is_answered(self) -> bool:
        """Whether there must be an answer: nothing asks nothing, and a verb that long has no topic for one."""
        return bool(self.payload) and 0 < len(self.verb) <= MAX_VERB


def messages(dice: Random) -> Iterator[Message]:
    """Yield messages for ever, each of the kinds in turn."""
    number = 0
    while True:
        for kind in KINDS:
            number += 1
            yield kind(dice, f"t{number}-{dice.randrange(16**8):08x}")


def body_of(verb: str, transaction: str) -> dict[str, str]:
    """Return a good request's fields, as JSON."""
    names = [field.encode_name for field in msgspec.structs.fields(VERBS[verb].body)]
    return {"transaction": json.dumps(transaction), **{name: GOOD[name] for name in names}}


def written(fields: dict[str, str]) -> bytes:
    """Write fields that are JSON already, or are to be none."""
    inner = ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items())
    return f"{{{inner}}}".encode("utf-8", "surrogatepass")


# ── kinds ───────────────────────────────────────────────────────────────────────────────────────
def wrong_value(dice: Random, transaction: str) -> Message:
    """Put a value into a field in which it does not belong (or, by chance, does)."""
    verb = dice.choice(list(VERBS))
    fields = body_of(verb, transaction)
    known = [name for name in fields if name != "transaction"] or ["expires"]
    fields[dice.choice(known)] = value = dice.choice(VALUES)
    return Message(verb=verb, payload=written(fields), kind="value", transaction=_sure(transaction, value))


def wrong_transaction(dice: Random, _: str) -> Message:
    verb = dice.choice(list(VERBS))
    payload = written({**body_of(verb, ""), "transaction": dice.choice((*VALUES, f'"{"t" * 129}"'))})
    return Message(verb=verb, payload=payload, kind="transaction")


def noise(dice: Random, _: str) -> Message:
    size = dice.choice((1, 2, 7, 100, 5000, MAX_BYTES - 1, MAX_BYTES, MAX_BYTES + 1, 300_000))
    return Message(verb=dice.choice(list(VERBS)), payload=dice.randbytes(size), kind="bytes")


def nothing(dice: Random, _: str) -> Message:
    return Message(verb=dice.choice(list(VERBS)), payload=b"", kind="nothing")


def mutated(dice: Random, transaction: str) -> Message:
    """Change some bytes of a good request: flip, cut, double, put others in."""
    verb = dice.choice(list(VERBS))
    payload = bytearray(written(body_of(verb, transaction)))
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(payload))
        change = dice.randrange(4)
        if change == 0:
            payload[at] ^= 1 << dice.randrange(8)
        elif change == 1:
            payload[at : at + dice.randint(1, 9)] = b""
        elif change == 2:
            payload[at:at] = payload[at : at + dice.randint(1, 30)]
        else:
            payload[at:at] = dice.choice(VALUES).encode()[:200]
        payload = payload or bytearray(b"{")
    return Message(verb=verb, payload=bytes(payload), kind="mutated")


def shape(dice: Random, _: str) -> Message:
    """Send any JSON but an object."""
    return Message(verb=dice.choice(list(VERBS)), payload=dice.choice(VALUES).encode(), kind="shape")


def doubled(dice: Random, transaction: str) -> Message:
    """Give a key twice: the last one counts."""
    verb = dice.choice(list(VERBS))
    good = written(body_of(verb, transaction)).decode()
    return Message(
        verb=verb, payload=f'{{"transaction": 1, {good[1:]}'.encode(), kind="doubled", transaction=transaction
    )


def surplus(dice: Random, transaction: str) -> Message:
    """Add fields that no verb has."""
    verb = dice.choice(list(VERBS))
    extra = {dice.choice(("__class__", "", "path", "\x00", "model ", "x" * 3000)): '"x"' for _ in range(3)}
    return Message(
        verb=verb,
        payload=written({**body_of(verb, transaction), **extra}),
        kind="surplus",
        transaction=transaction,
    )


def level(dice: Random, transaction: str) -> Message:
    """Ask for a verb that is none."""
    payload = written(body_of("train", transaction))
    return Message(verb=dice.choice(LEVELS), payload=payload, kind="verb", transaction=transaction)


def expired(dice: Random, transaction: str) -> Message:
    fields = {**body_of("status", transaction), "expires": (value := dice.choice(EXPIRES))}
    known = transaction if value.startswith('"') else None
    return Message(verb="status", payload=written(fields), kind="expires", transaction=known)


def retained(dice: Random, transaction: str) -> Message:
    """Retain a good request; it is refused before it is read, and so without its transaction."""
    payload = written(body_of("status", transaction))
    return Message(verb=dice.choice(list(VERBS)), payload=payload, kind="retained", retain=True)


def properties(dice: Random, transaction: str) -> Message:
    """Send a good request with the properties of MQTT 5."""
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's only untyped class
    made.ResponseTopic = dice.choice(
        ("elsewhere", "finetuned/other/state", "lamp/kitchen/set", "/", "t" * 60_000, "homeassistant/status")
    )
    made.CorrelationData = dice.randbytes(dice.choice((0, 1, 65_535)))
    made.MessageExpiryInterval = dice.choice((1, 2**32 - 1))
    made.PayloadFormatIndicator = dice.randrange(2)
    made.ContentType = dice.choice(("", "application/x-pickle", "c" * 60_000))
    made.UserProperty = [("x" * 1000, "y" * 1000)] * dice.choice((1, 20))
    return Message(
        verb="status",
        payload=written(body_of("status", transaction)),
        kind="properties",
        transaction=transaction,
        properties=made,
    )


def _sure(transaction: str, value: str) -> str | None:
    """Return the transaction if the whole is JSON nonetheless, as Python's own reader has it."""
    try:
        json.loads(value, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return (
        transaction if len(value) < MAX_BYTES // 4 and "\\ud" not in value and "9" * 99 not in value else None
    )


def _finite(number: str) -> float:
    if abs(found := float(number)) == float("inf"):
        _refuse(number)
    return found


def _refuse(constant: str) -> object:
    raise ValueError(constant)


Kind = "Callable[[Random, str], Message]"
KINDS: tuple[Callable[[Random, str], Message], ...] = (
    *(
        wrong_value,
        mutated,
        wrong_value,
        wrong_transaction,
        noise,
        wrong_value,
        shape,
        doubled,
        wrong_value,
        surplus,
    ),
    *(level, wrong_value, expired, retained, wrong_value, properties, nothing, mutated, wrong_value),
)
"""Types go wrong most often, because there are most ways."""
