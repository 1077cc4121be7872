"""The options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output, for machines.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration (TOML).", dir_okay=False)
]
Node = Annotated[
    str,
    typer.Option(
        "--node",
        metavar="NAME",
        help="Which daemon, where several use one broker: pi-3fa2.",
        show_default=False,
    ),
]
ModelFile = Annotated[Path, typer.Argument(help="A Core ML model (.mlmodel).", show_default=False)]
ModelName = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]
User = Annotated[
    str,
    typer.Option(
        "--user", metavar="NAME", help="Whose; nobody in particular by default.", show_default=False
    ),
]
DataPath = Annotated[
    Path, typer.Argument(help="A folder of label folders, or one .npz, .csv or .jsonl.", show_default=False)
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="FOLDER=LABEL", help="Map a folder's name to a label; repeatable."),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter", "-p", metavar="KEY=VALUE", help="An update parameter, by Apple's name; repeatable."
    ),
]
RunParameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "-p",
        metavar="KEY=VALUE",
        help="What nearest neighbours are run with: numberOfNeighbors; repeatable.",
    ),
]
BeyondCoreml = Annotated[
    bool,
    typer.Option(
        "--beyond-coreml",
        help="Also what the arithmetic allows and Apple's validator refuses: merges, further layers, several losses.",
    ),
]
MaxSamples = Annotated[
    int,
    typer.Option(
        "--max-samples",
        metavar="N",
        min=0,
        help="Nearest neighbours: hold so many samples at most; 0: any number.",
        show_default=False,
    ),
]
WhenFull = Annotated[
    Literal["oldest", "balanced"],
    typer.Option("--when-full", help="Which go then: the oldest, or the oldest of the label that has most."),
]
Duplicates = Annotated[
    bool, typer.Option("--duplicates", help="Nearest neighbours: hold the same sample as often as it comes.")
]
PixelScale = Annotated[
    float,
    typer.Option(
        "--pixel-scale",
        metavar="X",
        min=0.0,
        max=1000.0,
        help="Multiply the pixels by it (0.00392 is 1/255): written into the model's file; 0: as the file has it.",
        show_default=False,
    ),
]
LossWeights = Annotated[
    list[str] | None,
    typer.Option(
        "--loss-weight",
        metavar="NAME=W",
        help="The weight of one of several losses, by its name or its target's; repeatable.",
    ),
]
Threads = Annotated[
    int, typer.Option(min=0, max=256, help="Threads to compute with; 0: one per core, four at most.")
]
