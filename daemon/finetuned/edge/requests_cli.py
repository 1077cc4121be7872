"""The commands that talk to a running daemon, over MQTT, as everybody does."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from finetuned.edge import client, console, wording
from finetuned.edge import config as configuration
from finetuned.edge.payloads import (
    VERBS,
    ForgetAnswer,
    ModeAnswer,
    RescanAnswer,
    StatusAnswer,
    TaskAnswer,
    TasksAnswer,
    VersionAnswer,
)
from finetuned.edge.signals import leave_at_signals
from finetuned.edge.watch_events import measure
from finetuned.edge.wording import harmless
from finetuned.errors import HostError, ParameterError, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from finetuned.edge.payloads import Answer
    from finetuned.service.events import DaemonState, ModelState, TaskStateView

A = TypeVar("A", bound="Answer")
ANSWER_S, FORGET_S = 10.0, 60.0
"""How long an answer is waited for; forgetting rewrites what was kept."""
MOST_NAMED = 5
"""Users and models that a sentence names."""
NEIGHBORS = "kNearestNeighborsClassifier"
PIPELINES = frozenset({"pipeline", "pipelineClassifier", "pipelineRegressor"})


@dataclass(frozen=True, slots=True, kw_only=True)
class To:
    """Whom a command speaks to: the daemon of a configuration, `node` where there are several."""

    config: Path | None = None
    node: str = ""


def request(verb: str, body: dict[str, Any], to: To, *, json: bool) -> None:
    """Ask for something and show the answer."""
    data = _ask(verb, body, to)
    if json:
        console.line(data)
    else:
        _say(sentences(_typed(data, VERBS[verb].answer)))


def status(to: To, *, json: bool) -> None:
    """Show the daemon, its models and its tasks."""
    data = _ask("status", {}, to)
    if json:
        console.line(data)
    else:
        _show(_typed(data, StatusAnswer))


def mode(wanted: str | None, duration: str | None, to: To, *, json: bool) -> None:
    """Ask for a mode, or say which holds.

    Raises:
        ParameterError: the duration is none, or has no mode that it could be for.
    """
    if wanted is not None:
        asked = {} if duration is None else {"forSeconds": wording.seconds(duration)}
        request("mode", {"mode": wanted, **asked}, to, json=json)
        return
    if duration is not None:
        raise ParameterError("--for needs a mode that lasts so long: always or never")
    state = _typed(_ask("status", {}, to), StatusAnswer).state
    if json:
        console.line({"mode": state.mode, "modeLeftSeconds": state.mode_left_seconds})
    else:
        _say([_mode_said(state.mode, state.mode_left_seconds)])


def forget(body: dict[str, str], to: To, *, sure: bool, json: bool) -> bool:
    """Forget, once whoever is at the terminal has said yes to it; return whether it was done.

    Raises:
        ParameterError: nobody said yes, and there is no terminal to ask at.
    """
    if not (sure or sys.stdin.isatty()):
        raise ParameterError(
            "what is forgotten does not come back, and there is no terminal to ask at: add --yes"
        )
    if not (sure or _agreed(body, to)):
        _say(["nothing was forgotten"])
        return False
    request("forget", body, to, json=json)
    return True


def _agreed(body: Mapping[str, str], to: To) -> bool:
    """Name what will be gone, and ask."""
    known = _typed(_ask("status", {}, to), StatusAnswer)
    sys.stderr.write(
        f"{harmless(known.node)}: {doomed(body, known.models)} will be gone, for ever. Forget? [y/N] "
    )
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def doomed(body: Mapping[str, str], models: tuple[ModelState, ...]) -> str:
    """Say what a `forget` will take, by what the daemon says of its models.

    A number only where the daemon tells of exactly this: who says less of people (`mqtt.disclose`) may know more of them.
    RequestError where there is no such model.
    """
    user, label, sample = (body.get(key, "") for key in ("user", "label", "sample"))
    of_model = [each for each in models if each.model == body["model"]]
    if not of_model:
        raise RequestError(_no_model(body["model"], models))
    hit = [each for each in of_model if user in {"", each.user}]
    whose = _whose(body["model"], user)
    if sample:
        return f"the sample {harmless(sample)} of {whose}{_held(of_model)}"
    if label:
        return f"{_extent(hit, label)} of the label {harmless(label)} of {whose}{_held(of_model)}"
    users = [each.user for each in hit if each.user]
    named = wording.listed([harmless(each, 40) for each in users[:MOST_NAMED]])
    everybody = f" of {named}" if users and not user else ""
    more = f" and {len(users) - MOST_NAMED} more" if len(users) > MOST_NAMED and not user else ""
    return f"{whose}, with {_extent(hit)}{everybody}{more} and every version"


def _held(models: Sequence[ModelState]) -> str:
    """Say that versions go with a sample, where they may hold it: a pipeline's kind does not tell what it ends in."""
    kinds = {each.kind for each in models}
    if NEIGHBORS in kinds:
        return " and every version, which hold it"
    return " and, if it ends in nearest neighbours, every version" if kinds & PIPELINES else ""


def _extent(hit: Sequence[ModelState], label: str = "") -> str:
    """Say how many samples these states tell of; `all samples` where they do not tell of them one by one."""
    told = [n for each in hit for name, n in each.samples.items() if label in {"", name}]
    is_counted = told and all("" not in each.samples for each in hit)
    return wording.counted(sum(told), "sample") if is_counted else "all samples"


def _no_model(name: str, models: Sequence[ModelState]) -> str:
    known = sorted({each.model for each in models})
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    there = ", ".join(harmless(each, 60) for each in known[:MOST_NAMED]) + more
    return f"there is no model named {harmless(name, 60)}; registered are: {there or 'none'}"


# ── asking ──────────────────────────────────────────────────────────────────────────────────────
def _ask(verb: str, body: Mapping[str, Any], to: To) -> Any:  # noqa: ANN401 - JSON
    async def ask() -> Any:  # noqa: ANN401 - JSON
        leave_at_signals()
        loaded = configuration.load(to.config)
        async with client.connected(client.find(loaded), loaded.mqtt.prefix, node=to.node) as daemon:
            return await daemon.request(verb, body, FORGET_S if verb == "forget" else ANSWER_S)

    console.without_logs()
    return asyncio.run(ask())


def _typed(data: object, kind: type[A]) -> A:
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise HostError(
            f"the daemon's answer is not as this finetuned knows it ({harmless(error, 300)}): are both of one version?"
        ) from error


# ── answers in a sentence ───────────────────────────────────────────────────────────────────────
def sentences(answer: Answer) -> list[str]:
    """Say an answer."""
    return SAYING[type(answer)](answer)


def _say(said: list[str]) -> None:
    for each in said:
        console.person().print(each, markup=False)


def _task(task: TaskAnswer) -> str:
    return f"{_whose(task.model, task.user)}: task {harmless(task.task)} is {harmless(task.state)}{_why(task.reasons)}"


def _version(answer: VersionAnswer) -> str:
    whose, now = _whose(answer.model, answer.user), wording.version(answer.version)
    if answer.version == answer.from_version:
        return f"{whose}: {now} was in use already"
    return f"{whose}: {now} is in use now, {wording.version(answer.from_version)} no more"


def _forgotten(answer: ForgetAnswer) -> str:
    samples, versions = wording.counted(answer.samples, "sample"), wording.counted(answer.versions, "version")
    return f"{_whose(answer.model, answer.user)}: {samples} and {versions} are gone"


def _mode_said(mode: str, left_s: float | None) -> str:
    return f"mode {harmless(mode)}{wording.until(left_s)}: {wording.MEANINGS.get(mode, 'not known here')}"


def _whose(model: str, user: str) -> str:
    return f"{harmless(model, 60)} of {harmless(user, 60)}" if user else harmless(model, 60)


def _why(reasons: tuple[str, ...]) -> str:
    return f" ({', '.join(harmless(each, 30) for each in reasons[:8])})" if reasons else ""


SAYING: Mapping[type[Answer], Callable[[Any], list[str]]] = {
    TaskAnswer: lambda answer: [_task(answer)],
    TasksAnswer: lambda answer: [_task(each) for each in answer.tasks] or ["no task is alive"],
    VersionAnswer: lambda answer: [_version(answer)],
    ModeAnswer: lambda answer: [_mode_said(answer.mode, answer.for_seconds)],
    RescanAnswer: lambda answer: [
        f"looking through the inbox; waiting: {wording.counted(answer.waiting_samples, 'sample')}"
    ],
    ForgetAnswer: lambda answer: [_forgotten(answer)],
}
"""By the answer's type: its lines."""


# ── status ──────────────────────────────────────────────────────────────────────────────────────
MODEL_COLUMNS = ("model", "user", "version", "samples", "measured")
TASK_COLUMNS = ("task", "model", "user", "state", "progress", "loss", "left")


def _show(answer: StatusAnswer) -> None:
    _show_daemon(answer.node, answer.state)
    if answer.models:
        console.table("models", MODEL_COLUMNS, [_model_row(each) for each in answer.models])
    _say([_kept(each) for each in answer.models if each.candidate])
    if answer.tasks:
        console.table("tasks", TASK_COLUMNS, [_task_row(each) for each in answer.tasks])


def _show_daemon(node: str, state: DaemonState) -> None:
    from rich.markup import escape  # noqa: PLC0415 - rich is for commands that print tables, never for the daemon

    from finetuned.edge import watch_view as view  # noqa: PLC0415 - as above

    person, colour = console.person(), view.PACES.get(state.pace, "red")
    person.print(
        f"[bold]{escape(harmless(node))}[/]  finetuned {escape(harmless(state.version))}, "
        f"mode {escape(view.mode_of(state))}, pace [{colour}]{escape(view.pace_of(state))}[/]"
    )
    if why := view.causes_of(state):
        person.print(f"[{colour}]because of {escape(why)}[/]")
    person.print(
        f"{escape(view.zones_of(state))}; waiting: {wording.counted(state.waiting_samples, 'sample')}, "
        f"{wording.counted(state.queued, 'task')}"
    )
    for warning in state.warnings:
        person.print(f"[yellow]warning:[/] {escape(harmless(warning, 500))}")


def _model_row(model: ModelState) -> tuple[object, ...]:
    return (
        harmless(model.model),
        harmless(model.user) or "–",
        wording.count(model.current) if model.current else "base",
        wording.count(sum(model.samples.values())),
        "" if model.metrics is None else measure(model.metrics),
    )


def _kept(model: ModelState) -> str:
    whose, hint = _whose(model.model, model.user), wording.hint(model.model, model.user, model.candidate)
    return f"{whose}: {wording.version(model.candidate)} is kept and not in use; {hint}"


def _task_row(task: TaskStateView) -> tuple[object, ...]:
    loss = "" if task.loss_value is None else f"{task.loss_value:.4g}"
    state = f"{harmless(task.state, 20)}{_why(task.reasons)}"
    left = "" if task.eta_seconds is None else wording.lasting(task.eta_seconds)
    who = (harmless(task.task), harmless(task.model), harmless(task.user) or "–")
    return *who, state, f"{task.progress:.0%}", loss, left
