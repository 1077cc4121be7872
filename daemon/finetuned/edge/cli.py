"""The command line: what a person and a script type (CLI.md).

Each command is a few lines here; what it does lives in the module that it imports when it is called, so that `finetuned
--help` is quick and `finetuned run` stays small.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from finetuned.edge import author_cli, console, daemon_commands
from finetuned.edge.options import (
    BeyondCoreml,
    ConfigFile,
    DataPath,
    Duplicates,
    Json,
    Labels,
    LossWeights,
    MaxSamples,
    ModelFile,
    Parameters,
    PixelScale,
    RunParameters,
    Threads,
    WhenFull,
)

app = typer.Typer(
    help="On-device personalization: labelled samples in, better Core ML models out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    """Print the version and leave."""
    if value:
        from finetuned import __version__

        typer.echo(f"finetuned {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """On-device personalization: labelled samples in, better Core ML models out."""


# ── the daemon ──────────────────────────────────────────────────────────────────────────────────
@app.command()
def run(config: ConfigFile = None) -> None:
    """Be the daemon, in the foreground, as systemd starts it."""
    from finetuned.edge import config as configuration
    from finetuned.edge.handover import become_daemon

    with console.told(json=False):
        become_daemon(configuration.load(config))


@app.command()
def demo(
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Keep the state folder here.")
    ] = None,
    json: Json = False,
) -> None:
    """See the whole story in half a minute: dropped pictures become a better model."""
    from finetuned.edge import demo as story

    with console.told(json=json):
        raise typer.Exit(asyncio.run(story.tell(keep, json=json)))


@app.command()
def budget(
    simulate: Annotated[
        list[str] | None,
        typer.Option(
            "--simulate",
            metavar="ZONE=VALUE",
            help="As if a zone's reading stayed so: thermal=85, battery=20 (on battery), battery=mains, "
            "schedule=outside, thermal/x86_pkg_temp=missing; repeatable.",
        ),
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show each zone, its trips, its reading now, and what that makes the daemon do; needs no daemon, touches nothing."""
    from finetuned.edge import budget_cli

    with console.told(json=json):
        budget_cli.budget(simulate, config, json=json)


# ── the running daemon ──────────────────────────────────────────────────────────────────────────
for _command in daemon_commands.COMMANDS:
    app.command()(_command)


# ── the store ───────────────────────────────────────────────────────────────────────────────────
@app.command()
def add(
    model: ModelFile,
    name: Annotated[str | None, typer.Option("--name", help="Its name; the file's own by default.")] = None,
    beyond_coreml: BeyondCoreml = False,
    pixel_scale: PixelScale = 0.0,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Register a baseline with the store and make its inbox."""
    from finetuned.edge import store_cli

    with console.told(json=json):
        store_cli.add(model, name, config, beyond_coreml=beyond_coreml, pixel_scale=pixel_scale, json=json)


@app.command()
def models(config: ConfigFile = None, json: Json = False) -> None:
    """List the models that the store knows."""
    from finetuned.edge import store_cli

    with console.told(json=json):
        store_cli.models(config, json=json)


@app.command()
def versions(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """List a model's saved versions, and which is in use."""
    from finetuned.edge import store_cli

    with console.told(json=json):
        store_cli.versions(name, config, json=json)


# ── one model, without a daemon ─────────────────────────────────────────────────────────────────
@app.command()
def check(
    model: ModelFile,
    beyond_coreml: BeyondCoreml = False,
    with_coremltools: Annotated[
        bool,
        typer.Option(
            "--with-coremltools", help="Ask coremltools too (finetuned[author]); its word counts as well."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Say whether a model can be updated, and if not every reason with its remedy."""
    from finetuned.edge import model_cli, opinion

    with console.told(json=json):
        second = opinion.asked("coremltools") if with_coremltools else None
        fine = model_cli.check(model, beyond_coreml=beyond_coreml, second=second, json=json)
        raise typer.Exit(console.DONE if fine else console.NO)


@app.command()
def update(
    model: ModelFile,
    data: DataPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where the updated model goes.", show_default=False)
    ],
    parameter: Parameters = None,
    validate: Annotated[
        Path | None, typer.Option("--validate", metavar="DATA", help="Measured, never trained on.")
    ] = None,
    label: Labels = None,
    beyond_coreml: BeyondCoreml = False,
    loss_weight: LossWeights = None,
    max_samples: MaxSamples = 0,
    when_full: WhenFull = "oldest",
    duplicates: Duplicates = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint that lies beside OUT.")
    ] = False,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Run one update task in the foreground: Apple's MLUpdateTask as a command."""
    from finetuned.edge import update_cli
    from finetuned.edge.pairs import pairs

    with console.told(json=json):
        job = update_cli.Job(
            model=model,
            data=data,
            out=out,
            validate=validate,
            threads=threads,
            resume=resume,
            beyond_coreml=beyond_coreml,
            loss_weights=pairs(loss_weight, "--loss-weight"),
            max_samples=max_samples,
            when_full=when_full,
            duplicates=duplicates,
        )
        raise typer.Exit(update_cli.update(job, parameter, label, json=json))


@app.command()
def predict(
    model: ModelFile,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Pictures or .npy files; for a model of arrays or of several inputs .npz, .csv or .jsonl.",
            show_default=False,
        ),
    ],
    parameter: RunParameters = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Run a model on files."""
    from finetuned.edge import model_cli

    with console.told(json=json):
        raise typer.Exit(model_cli.predict(model, inputs, threads, parameter, json=json))


@app.command()
def evaluate(
    model: ModelFile,
    data: DataPath,
    label: Labels = None,
    parameter: RunParameters = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Measure how good a model is on labelled data."""
    from finetuned.edge import model_cli

    with console.told(json=json):
        model_cli.evaluate(model, data, label, threads, parameter, json=json)


# ── making models updatable, and changing them ──────────────────────────────────────────────────
app.add_typer(author_cli.app, name="author")
