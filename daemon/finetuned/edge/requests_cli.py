"""The commands that talk to a running daemon, over MQTT, as everybody does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from finetuned.edge import client, console, wording
from finetuned.edge import config as configuration
from finetuned.edge.wording import harmless
from finetuned.errors import HostError, ParameterError
from finetuned.service.events import DaemonState

if TYPE_CHECKING:
    from pathlib import Path


def status(config: Path | None, *, json: bool) -> None:
    """Show the daemon, its models and its tasks."""
    data = _ask("status", {}, config)
    if json:
        console.line(data)
    else:
        _show(data)


def request(verb: str, body: dict[str, Any], config: Path | None, *, json: bool) -> None:
    """Ask for something and show the answer."""
    data = _ask(verb, body, config)
    if json:
        console.line(data)
        return
    for task in data.get("tasks", [data]):
        console.person().print(f"{task['model']} {task['user']} {task['task']}: {task['state']} {_why(task)}")
    if data.get("tasks") == []:
        console.person().print("no task is alive")


def mode(wanted: str | None, duration: str | None, config: Path | None, *, json: bool) -> None:
    """Ask for a mode, or say which holds.

    Raises:
        ParameterError: the duration is none, or has no mode that it could be for.
    """
    if wanted is None:
        if duration is not None:
            raise ParameterError("--for needs a mode that lasts so long: always or never")
        _say_mode(_state(_ask("status", {}, config)), json=json)
        return
    asked = {} if duration is None else {"forSeconds": wording.seconds(duration)}
    data = _ask("mode", {"mode": wanted, **asked}, config)
    if json:
        console.line(data)
    else:
        console.person().print(_mode_said(data["mode"], data["forSeconds"]), markup=False)


def _say_mode(state: DaemonState, *, json: bool) -> None:
    if json:
        console.line({"mode": state.mode, "modeLeftSeconds": state.mode_left_seconds})
    else:
        console.person().print(_mode_said(state.mode, state.mode_left_seconds), markup=False)


def _mode_said(mode: str, left_s: float | None) -> str:
    return f"mode {harmless(mode)}{wording.until(left_s)}: {wording.MEANINGS.get(mode, 'not known here')}"


def _ask(verb: str, body: dict[str, Any], config: Path | None) -> Any:  # noqa: ANN401 - JSON
    async def ask() -> Any:  # noqa: ANN401 - JSON
        loaded = configuration.load(config)
        async with client.connected(client.find(loaded), loaded.mqtt.prefix) as daemon:
            return await daemon.request(verb, body)

    return asyncio.run(ask())


def _show(data: dict[str, Any]) -> None:
    from rich.markup import escape  # noqa: PLC0415 - rich is for commands that print tables, never for the daemon

    from finetuned.edge import watch_view as view  # noqa: PLC0415 - as above

    state, person = _state(data), console.person()
    colour = view.PACES.get(state.pace, "red")
    person.print(
        f"[bold]{escape(harmless(data['node']))}[/]  finetuned {escape(harmless(state.version))}, "
        f"mode {escape(view.mode_of(state))}, pace [{colour}]{escape(view.pace_of(state))}[/]"
    )
    if why := view.causes_of(state):
        person.print(f"[{colour}]because of {escape(why)}[/]")
    person.print(
        f"{escape(view.zones_of(state))}; waiting: {state.waiting_samples} samples, {state.queued} tasks"
    )
    for warning in state.warnings:
        person.print(f"[yellow]warning:[/] {escape(harmless(warning, 500))}")
    rows = [_model_row(model) for model in data["models"]]
    console.table("models", ("model", "user", "version", "samples", "accuracy"), rows)
    if data["tasks"]:
        console.table(
            "tasks", ("task", "model", "state", "progress", "loss"), [_task_row(t) for t in data["tasks"]]
        )


def _state(data: dict[str, Any]) -> DaemonState:
    try:
        return msgspec.convert(data["state"], DaemonState)
    except msgspec.ValidationError as error:
        raise HostError(
            f"the daemon's state is not as this finetuned knows it ({error}): are both of one version?"
        ) from error


def _model_row(model: dict[str, Any]) -> tuple[object, ...]:
    accuracy = (model["metrics"] or {}).get("accuracy")
    shown = "" if accuracy is None else f"{accuracy:.0%}"
    return (
        model["model"],
        model["user"] or "–",
        model["current"] or "base",
        sum(model["samples"].values()),
        shown,
    )


def _task_row(task: dict[str, Any]) -> tuple[object, ...]:
    loss = "" if task["lossValue"] is None else f"{task['lossValue']:.4f}"
    return task["task"], task["model"], f"{task['state']} {_why(task)}", f"{task['progress']:.0%}", loss


def _why(state: dict[str, Any]) -> str:
    return f"({', '.join(state['reasons'])})" if state["reasons"] else ""
