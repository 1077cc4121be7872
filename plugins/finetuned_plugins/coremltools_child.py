"""The process in which coremltools is asked: a model's bytes on standard input, its opinion as JSON on standard output."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import msgspec

from finetuned_plugins import coremltools_builder, coremltools_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned import Model, Opinion

CHECKED = (
    "coremltools' own protobuf messages parse the file, and its MLModel takes it",
    "it reads the same inputs, outputs, training inputs, labels, layers, losses, optimizer, parameters, samples and inner models",
    "its builder marks the same layers and attaches the same loss, and the target that it asks for is there",
    "what coremltools saves of it finetuned reads as the same",
)
UNCHECKED = (
    "Core ML's validator and compiler: they come with macOS, and are not asked on any system",
    "what the model computes: coremltools predicts on macOS only",
)

# What coremltools imports when it is there, and needs for conversion only: seconds, and hundreds of megabytes.
CONVERTED = (
    "torch",
    "torchvision",
    "torchaudio",
    "torchao",
    "executorch",
    "tensorflow",
    "sklearn",
    "xgboost",
)


def quieten() -> None:
    """Let coremltools bring no library of those that it converts from, and log nothing."""
    sys.modules.update(dict.fromkeys(CONVERTED))  # type: ignore[arg-type]  # None: an import of it fails
    logging.disable()
    warnings.simplefilter("ignore")


def opinion(data: bytes) -> Opinion:
    """Return what coremltools makes of the file; one that finetuned does not read is not shown to it."""
    from finetuned import Opinion, decode  # noqa: PLC0415 - NumPy and protobuf are this process's affair

    model = decode(data)
    from coremltools import __version__  # noqa: PLC0415 - it is quiet by now

    said = tuple(remarks(model, data))
    return Opinion(version=__version__, agrees=not said, remarks=said, checked=CHECKED, unchecked=UNCHECKED)


def remarks(model: Model, data: bytes) -> Iterator[str]:
    """Say in what coremltools does not agree with what finetuned has decoded as `model`."""
    from coremltools.proto import Model_pb2  # noqa: PLC0415 - as above
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - as above

    try:
        spec = Model_pb2.Model.FromString(data)
    except DecodeError as error:
        yield f"coremltools does not parse it: {error}"
        return
    yield from coremltools_view.differences(model, spec)
    yield from coremltools_builder.objections(spec)
    yield from coremltools_builder.saved(model, spec)


def main() -> None:
    """Answer, with nothing else on standard output."""
    quieten()
    with redirect_stdout(io.StringIO()):  # its builder tells what it does
        answer = opinion(sys.stdin.buffer.read())
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
