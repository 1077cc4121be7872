"""The commands that talk to a running daemon, over MQTT, as everybody does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from finetuned.edge import client, console
from finetuned.edge import config as configuration

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


def _ask(verb: str, body: dict[str, Any], config: Path | None) -> Any:  # noqa: ANN401 - JSON
    async def ask() -> Any:  # noqa: ANN401 - JSON
        loaded = configuration.load(config)
        async with client.connected(client.find(loaded), loaded.mqtt.prefix) as daemon:
            return await daemon.request(verb, body)

    return asyncio.run(ask())


def _show(data: dict[str, Any]) -> None:
    state = data["state"]
    person = console.person()
    colour = {"full": "green", "cpu": "yellow", "slow": "yellow"}.get(state["pace"], "red")
    person.print(
        f"[bold]{data['node']}[/]  finetuned {state['version']}, mode {state['mode']}, "
        f"pace [{colour}]{state['pace']}[/] {_why(state)}"
    )
    readings = "  ".join(f"{zone} {value:g}" for zone, value in state["readings"].items())
    person.print(
        f"{readings or 'no sensors'}; {state['waitingSamples']} samples wait, {state['queued']} tasks queued"
    )
    for warning in state["warnings"]:
        person.print(f"[yellow]warning:[/] {warning}")
    rows = [_model_row(model) for model in data["models"]]
    console.table("models", ("model", "user", "version", "samples", "accuracy"), rows)
    if data["tasks"]:
        console.table(
            "tasks", ("task", "model", "state", "progress", "loss"), [_task_row(t) for t in data["tasks"]]
        )


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
