"""`finetuned author`: make a model updatable, and change one that is.  What each command does lives in `author_commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetuned.edge import console
from finetuned.edge.options import BeyondCoreml, Json, ModelFile, Threads

app = typer.Typer(
    help="Make a Core ML model updatable, or change one: what is written passes `finetuned check`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="OUT", help="Where the model goes; may be MODEL itself.", show_default=False
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "-p",
        metavar="NAME=DEFAULT",
        help="A parameter's default, and what a run may choose: learningRate=0.01:0:1, epochs=10{1,10,50}; repeatable.",
    ),
]
Weighting = Annotated[
    str, typer.Option("--weighting", metavar="WEIGHTING", help="uniform or inverse (of the distance).")
]
Index = Annotated[str, typer.Option("--index", metavar="INDEX", help="linear or kd-tree.")]
LeafSize = Annotated[
    int, typer.Option("--leaf-size", min=0, max=2**31 - 1, help="Of a kd-tree; 0: 30, or as it is.")
]
Default = Annotated[
    str | None, typer.Option("--default", metavar="LABEL", help="What a k-NN without samples answers.")
]
Label = Annotated[str, typer.Argument(metavar="LABEL", help="The label.", show_default=False)]


# ── making ──────────────────────────────────────────────────────────────────────────────────────
@app.command()
def updatable(
    model: ModelFile,
    out: Out,
    layers: Annotated[
        str, typer.Option("--layers", metavar="A,B,…", help="Train the layers of these names.")
    ] = "",
    last: Annotated[
        int, typer.Option("--last", min=0, metavar="N", help="Train the last N fully connected layers.")
    ] = 0,
    everything: Annotated[
        bool, typer.Option("--all", help="Train everything that a gradient reaches.")
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="LABEL",
            help="Begin anew, with this label in the place of the model's own; repeatable.",
        ),
    ] = None,
    optimizer: Annotated[str, typer.Option("--optimizer", metavar="NAME", help="sgd or adam.")] = "sgd",
    parameter: Settings = None,
    output: Annotated[
        str, typer.Option("--output", metavar="NAME", help="Which of several outputs is trained.")
    ] = "",
    softmax: Annotated[
        bool, typer.Option("--softmax", help="Put a softmax behind the output, where it has none.")
    ] = False,
    beyond_coreml: BeyondCoreml = False,
    json: Json = False,
) -> None:
    """Mark layers of a network as trained; give it the loss that fits, an optimizer, ranges, training inputs.

    Without --layers, --last or --all the last fully connected layer is trained.
    """
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        choice = commands.choice(layers, last, everything=everything)
        training = commands.Training(
            labels=label or [],
            optimizer=optimizer,
            parameters=parameter,
            output=output,
            softmax=softmax,
            beyond_coreml=beyond_coreml,
        )
        commands.updatable(commands.Job(model=model, out=out, json=json), choice, training)


@app.command()
def neighbors(
    model: ModelFile,
    out: Out,
    at: Annotated[
        str,
        typer.Option(
            "--at",
            metavar="LAYER",
            help="The last layer that stays; by default the one before the last fully connected one.",
        ),
    ] = "",
    k: Annotated[
        str, typer.Option("-k", metavar="K", help="How many neighbours vote: K, K:MIN:MAX or K{a,b,c}.")
    ] = "5:1:1000",
    weighting: Weighting = "inverse",
    index: Index = "linear",
    leaf_size: LeafSize = 0,
    labels: Annotated[
        str, typer.Option("--labels", metavar="KIND", help="string or int64; as the classifier's, or string.")
    ] = "",
    default: Default = None,
    json: Json = False,
) -> None:
    """Turn a network into a pipeline: its front makes features, an empty k-NN classifier learns from them."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        vote = commands.vote(
            k, weighting=weighting, index=index, leaf_size=leaf_size, labels=labels, default=default
        )
        commands.neighbors(commands.Job(model=model, out=out, json=json), at, vote)


# ── labels and samples ──────────────────────────────────────────────────────────────────────────
@app.command()
def add_label(
    model: ModelFile,
    label: Label,
    out: Out,
    samples: Annotated[
        Path | None,
        typer.Option(
            "--samples",
            metavar="DATA",
            help="First samples of the label: a folder of files, or one file (.npz, .csv, .jsonl, a picture).",
        ),
    ] = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Add a label to a trained network, the old ones staying as they are; its row is zeros, or made from its first samples."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        commands.add_label(commands.Job(model=model, out=out, json=json), label, samples, threads)


@app.command()
def remove_label(model: ModelFile, label: Label, out: Out, json: Json = False) -> None:
    """Remove a label: a network's row, or all samples of it that a k-NN classifier has stored."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        commands.remove_label(commands.Job(model=model, out=out, json=json), label)


@app.command()
def samples(model: ModelFile, json: Json = False) -> None:
    """Show which samples a k-NN classifier has stored, by label; with --json the label of each, in the order of the file."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        commands.samples(model, json=json)


@app.command()
def remove_samples(
    model: ModelFile,
    positions: Annotated[
        list[int],
        typer.Argument(metavar="POSITION...", help="Which samples; the first is 0.", show_default=False),
    ],
    out: Out,
    json: Json = False,
) -> None:
    """Remove samples that a k-NN classifier has stored, by their positions in the file."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        commands.remove_samples(commands.Job(model=model, out=out, json=json), positions)


@app.command()
def empty(model: ModelFile, out: Out, json: Json = False) -> None:
    """Remove all samples that a k-NN classifier has stored."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        commands.empty(commands.Job(model=model, out=out, json=json))


# ── settings ────────────────────────────────────────────────────────────────────────────────────
@app.command(name="set")
def set_(
    model: ModelFile,
    out: Out,
    parameter: Settings = None,
    pixel_scale: Annotated[
        str,
        typer.Option(
            "--pixel-scale", metavar="X", help="Let the file multiply the pixels of its images: 1/255."
        ),
    ] = "",
    weighting: Weighting = "",
    index: Index = "",
    leaf_size: LeafSize = 0,
    default: Default = None,
    json: Json = False,
) -> None:
    """Set defaults, ranges and sets of parameters, the scale of pixels, or how a k-NN classifier votes."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        voting = {"weighting": weighting, "index": index, "leaf_size": leaf_size, "default": default}
        job = commands.Job(model=model, out=out, json=json)
        commands.change(job, parameter, pixel_scale, {key: value for key, value in voting.items() if value})


@app.command()
def describe(
    model: ModelFile,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT", help="Where the model goes; may be MODEL itself."),
    ] = None,
    author: Annotated[str | None, typer.Option("--author", metavar="TEXT", help="Who made it.")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="TEXT", help="Under which licence.")
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="What it does.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", metavar="TEXT", help="Its version.")] = None,
    entry: Annotated[
        list[str] | None,
        typer.Option("--entry", metavar="KEY=TEXT", help="An entry of your own; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a model says of itself, or set it; an empty text takes an entry away."""
    from finetuned.edge import author_commands as commands

    with console.told(json=json):
        given = {
            "author": author,
            "license": licence,
            "shortDescription": description,
            "versionString": version,
        }
        texts = {key: text for key, text in given.items() if text is not None}
        commands.describe(model, out, texts, entry, json=json)
