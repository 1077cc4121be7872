"""The commands that look at a running daemon or ask it for something: over MQTT, from this machine or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetuned.edge import console
from finetuned.edge.options import ConfigFile, Json, ModelName, Node, Parameters, User
from finetuned.errors import ParameterError
from finetuned.policy.budget import Mode

if TYPE_CHECKING:
    from pathlib import Path


def _request(verb: str, body: dict[str, Any], config: Path | None, node: str, *, json: bool) -> None:
    from finetuned.edge import requests_cli

    with console.told(json=json):
        requests_cli.request(verb, body, requests_cli.To(config=config, node=node), json=json)


# ── looking ─────────────────────────────────────────────────────────────────────────────────────
def status(config: ConfigFile = None, node: Node = "", json: Json = False) -> None:
    """Say how the running daemon is: pace, models, tasks."""
    from finetuned.edge import requests_cli

    with console.told(json=json):
        requests_cli.status(requests_cli.To(config=config, node=node), json=json)


def watch(config: ConfigFile = None, node: Node = "", json: Json = False) -> None:
    """Look on, live: zones, tasks, models, events.

    Not on a terminal, a line for every event but mini-batches.  With --json every event, as it comes.
    """
    from finetuned.edge import watch as watching

    with console.told(json=json):
        watching.watch(config, node, json=json)


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────
TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's id, or all.")]


def train(
    model: ModelName,
    user: User = "",
    parameter: Parameters = None,
    config: ConfigFile = None,
    node: Node = "",
    json: Json = False,
) -> None:
    """Start a task now, with the samples that are there."""
    from finetuned.edge.pairs import pairs

    with console.told(json=json):
        body = {"model": model, "user": user, "parameters": pairs(parameter, "-p")}
    _request("train", body, config, node, json=json)


def pause(task: TaskName = "all", config: ConfigFile = None, node: Node = "", json: Json = False) -> None:
    """Hold a task, or all, until it is resumed."""
    _request("pause", {"task": task}, config, node, json=json)


def resume(
    task: TaskName = "all",
    parameter: Parameters = None,
    config: ConfigFile = None,
    node: Node = "",
    json: Json = False,
) -> None:
    """Let a task, or all, go on, perhaps with another learningRate."""
    from finetuned.edge.pairs import pairs

    with console.told(json=json):
        numbers = {key: _number(key, value) for key, value in pairs(parameter, "-p").items()}
    _request("resume", {"task": task, "parameters": numbers}, config, node, json=json)


def _number(key: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ParameterError(f"{key}={value} is not a number") from None


def cancel(
    task: Annotated[str, typer.Argument(help="A task's id.", show_default=False)],
    config: ConfigFile = None,
    node: Node = "",
    json: Json = False,
) -> None:
    """End a task; nothing of it is saved."""
    _request("cancel", {"task": task}, config, node, json=json)


# ── models ──────────────────────────────────────────────────────────────────────────────────────
def promote(
    model: ModelName,
    version: Annotated[
        int,
        typer.Argument(
            min=0,
            help="A saved version, as `finetuned versions` lists them; 0: the base.",
            show_default=False,
        ),
    ],
    user: User = "",
    config: ConfigFile = None,
    node: Node = "",
    json: Json = False,
) -> None:
    """Use a saved version from now on.

    For instance one that was kept as a candidate since it was not better: `finetuned status` shows it.
    """
    _request("promote", {"model": model, "user": user, "version": version}, config, node, json=json)


def rollback(
    model: ModelName, user: User = "", config: ConfigFile = None, node: Node = "", json: Json = False
) -> None:
    """Use the version before the present one again."""
    _request("rollback", {"model": model, "user": user}, config, node, json=json)


def rescan(config: ConfigFile = None, node: Node = "", json: Json = False) -> None:
    """Look through the whole inbox now."""
    _request("rescan", {}, config, node, json=json)


def forget(
    model: ModelName,
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="This user's alone.", show_default=False)
    ] = "",
    label: Annotated[
        str, typer.Option("--label", metavar="LABEL", help="This label's samples alone.", show_default=False)
    ] = "",
    sample: Annotated[
        str,
        typer.Option(
            "--sample", metavar="SHA256", help="This sample alone, by its SHA-256.", show_default=False
        ),
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal.")
    ] = False,
    config: ConfigFile = None,
    node: Node = "",
    json: Json = False,
) -> None:
    """Forget a model, a user or samples, for ever.

    Without an option the model with its users, its samples and its versions; at a terminal it asks before.

    The daemon obeys only where `forget` stands in its mqtt.allow.
    """
    from finetuned.edge import requests_cli

    with console.told(json=json):
        if label and sample:
            raise ParameterError("--label and --sample do not go together: a sample has one label already")
        named = {"model": model, "user": user, "label": label, "sample": sample}
        body = {key: value for key, value in named.items() if value}
        to = requests_cli.To(config=config, node=node)
        done = requests_cli.forget(body, to, sure=yes, json=json)
        raise typer.Exit(console.DONE if done else console.NO)


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────
WantedMode = Annotated[
    Mode | None,
    typer.Argument(metavar="MODE", help="Left out: say which holds.", show_default=False),
]


def mode(
    wanted: WantedMode = None,
    duration: Annotated[
        str | None,
        typer.Option("--for", metavar="DURATION", help="Then auto again: 90 (seconds), 90s, 30m, 2h, 1d."),
    ] = None,
    config: ConfigFile = None,
    node: Node = "",
    json: Json = False,
) -> None:
    """Say which mode holds, or set it.

    auto: the budget decides; always: only what would harm the machine holds a task; never: nothing is trained.
    """
    from finetuned.edge import requests_cli

    with console.told(json=json):
        requests_cli.mode(wanted, duration, requests_cli.To(config=config, node=node), json=json)


COMMANDS = (status, watch, train, pause, resume, cancel, promote, rollback, forget, rescan, mode)
"""In the order in which they are listed."""
