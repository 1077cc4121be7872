"""The commands that look at one model file, without a daemon: check, predict, evaluate."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.edge import console
from finetuned.edge.measuring import ClassifierReport, measure
from finetuned.edge.pairs import pairs
from finetuned.edge.threads import threads_of
from finetuned.edge.wording import figure
from finetuned.errors import ModelError, SampleError
from finetuned.service import tables, training_data
from finetuned.service.decoder import Decoders
from finetuned.service.describe import describe, sample_inputs
from finetuned.service.messages import Undecodable
from finetuned.service.models import read
from finetuned.spec import codec
from finetuned.update.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from finetuned.edge.measuring import Report
    from finetuned.service.dataset import Dataset
    from finetuned.service.messages import FeatureInfo, InputSpec, ModelInfo, ParameterInfo
    from finetuned.service.training_data import Prepared
    from finetuned.spec.model import Model
    from finetuned.update.network import NetworkUpdate

SHOWN_LABELS = 20


def load(path: Path) -> Model:
    """Read and decode a model file."""
    return codec.decode(read(path))


# ── check ───────────────────────────────────────────────────────────────────────────────────────
def check(path: Path, *, beyond_coreml: bool, json: bool) -> bool:
    """Show what the model is and whether it can be updated; return that."""
    info = describe(load(path), beyond_coreml=beyond_coreml)
    if json:
        console.line(info)
    else:
        _show(path, info)
    return info.updatable


def _show(path: Path, info: ModelInfo) -> None:
    person = console.person()
    word = "[bold green]can be updated[/]" if info.updatable else "[bold red]cannot be updated[/]"
    person.print(f"{path.name}: {info.kind}, specification version {info.specification_version}: {word}")
    for reason in info.reasons:
        person.print(f"  [red]●[/] {reason}", markup=True, soft_wrap=True)
    for departure in info.departures:
        person.print(f"  [yellow]leaves Core ML:[/] {departure}", markup=True, soft_wrap=True)
    for word, features in (
        ("input", info.inputs),
        ("output", info.outputs),
        ("training input", info.training_inputs),
    ):
        for feature in features:
            person.print(f"  {word} {_feature(feature)}")
    for loss in info.losses:
        person.print(f"  loss {loss['type']} on {loss['input']}")
    if info.class_labels:
        more = " …" if len(info.class_labels) > SHOWN_LABELS else ""
        person.print(f"  labels {', '.join(map(str, info.class_labels[:SHOWN_LABELS]))}{more}")
    rows = [
        (layer.name, layer.type, "trained" if layer.trainable else "", layer.parameters or "")
        for layer in info.layers
    ]
    console.table("layers", ("name", "type", "", "numbers"), rows)
    if info.parameters:
        console.table(
            f"parameters ({info.optimizer})",
            ("name", "default", "allowed"),
            [_parameter(n, p) for n, p in info.parameters.items()],
        )


def _feature(feature: FeatureInfo) -> str:
    return f"{feature.name}: {feature.type}"


def _parameter(name: str, row: ParameterInfo) -> tuple[object, ...]:
    if row.set is not None:
        return name, row.default, ", ".join(map(str, row.set))
    return name, row.default, f"{row.range[0]:g} to {row.range[1]:g}" if row.range else "anything"


# ── predict ─────────────────────────────────────────────────────────────────────────────────────
def predict(path: Path, files: list[Path], threads: int, *, json: bool) -> int:
    """Run the model on each file; a file that cannot be decoded is told and makes the status 1.

    A model of several inputs takes tables (`.npz`, `.csv`, `.jsonl`): every sample of each.
    """
    model = load(path)
    specs = sample_inputs(model)
    predictor = Predictor(model, threads=threads_of(threads))
    if not specs:
        raise ModelError("the model has no input that a file could hold")
    if len(specs) > 1:
        return _predict_tables(predictor, files, specs, json=json)

    async def each() -> int:
        failed = 0
        async for file, raw in _decoded(files, specs[0]):
            if isinstance(raw, Undecodable):
                failed += 1
                _tell(json, {"input": str(file), "error": raw.reason}, f"[red]{file}: {raw.reason}[/]")
            else:
                array = np.frombuffer(raw, specs[0].dtype).reshape(1, *specs[0].shape)
                _tell_prediction(json, file, predictor, {specs[0].name: array})
        return failed

    return console.NO if asyncio.run(each()) else console.DONE


def _predict_tables(
    predictor: Predictor, files: list[Path], specs: Sequence[InputSpec], *, json: bool
) -> int:
    """Run a model of several inputs on each sample of tables, which hold them by name."""
    # No target is wanted: an input's numbers stand for it.
    wanted = tables.Wanted(inputs=tuple(specs), target=specs[0].name, labels=(), mapping={})
    failed = 0
    for file in files:
        try:
            for table in tables.parts(file, wanted):
                for row, name in enumerate(table.names):
                    inputs = {key: array[row : row + 1] for key, array in table.inputs.items()}
                    _tell_prediction(json, name, predictor, inputs)
        except SampleError as error:
            failed += 1
            _tell(json, {"input": str(file), "error": str(error)}, f"[red]{file}: {error}[/]")
    return console.NO if failed else console.DONE


async def _decoded(files: list[Path], want: InputSpec) -> AsyncIterator[tuple[Path, bytes | Undecodable]]:
    async with Decoders() as decoders:
        for file in files:
            if not file.is_file():
                yield file, Undecodable(reason="there is no such file")
            else:
                yield file, await decoders.decode(file.absolute(), file.name, want)


def _tell_prediction(json: bool, file: Path | str, predictor: Predictor, inputs: dict[str, Any]) -> None:  # noqa: FBT001 - passed on
    if predictor.labels:
        label, probabilities = next(predictor.classify(inputs))
        best = sorted(probabilities.items(), key=lambda item: -item[1])[:3]
        shown = ", ".join(f"{name} {share:.1%}" for name, share in best)
        named = {str(name): share for name, share in probabilities.items()}
        _tell(
            json,
            {"input": str(file), "label": label, "probabilities": named},
            f"{file}: [bold]{label}[/] ({shown})",
        )
        return
    outputs = {name: array[0].ravel().tolist() for name, array in predictor.outputs(inputs).items()}
    _tell(json, {"input": str(file), "outputs": outputs}, f"{file}: {outputs}")


def _tell(json: bool, value: dict[str, Any], words: str) -> None:  # noqa: FBT001 - passed on
    if json:
        console.line(value)
    else:
        console.person().print(words, soft_wrap=True)


# ── evaluate ────────────────────────────────────────────────────────────────────────────────────
def evaluate(path: Path, data: Path, labels: list[str] | None, threads: int, *, json: bool) -> None:
    """Measure the model on labelled data."""
    model = load(path)
    samples = read_data(data, model, pairs(labels, "--label"), json=json)
    report = measure(model, samples.inputs, samples.targets, threads=threads_of(threads))
    if json:
        console.line(report)
    else:
        _show_report(path, report)


def _show_report(path: Path, report: Report) -> None:
    person = console.person()
    if not isinstance(report, ClassifierReport):
        person.print(
            f"{path.name}: mean squared error [bold]{figure(report.mean_squared_error, '.6g')}[/], mean absolute "
            f"error [bold]{figure(report.mean_absolute_error, '.6g')}[/] on {report.samples} samples"
        )
        return
    person.print(
        f"{path.name}: accuracy [bold]{report.accuracy:.1%}[/], loss {figure(report.loss, '.4f')} "
        f"on {report.samples} samples"
    )
    rows = [
        (label, row.samples, _share(row.precision), _share(row.recall))
        for label, row in report.per_label.items()
    ]
    console.table("", ("label", "samples", "precision", "recall"), rows)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


# ── data ────────────────────────────────────────────────────────────────────────────────────────
def read_data(data: Path, model: Model, labels: dict[str, str], *, json: bool) -> Dataset:
    """Read DATA with a progress bar; what was rejected is told."""
    with _bar(f"reading {data.name}", hidden=json) as progress:
        samples = asyncio.run(training_data.read(data, model, labels, progress, trains=False))
    _tell_rejected(samples.rejected)
    return samples


def prepare_data(data: Path, update: NetworkUpdate, labels: dict[str, str], *, json: bool) -> Prepared:
    """Read and encode DATA, as `read_data` does; it may be larger than memory."""
    with _bar(f"reading {data.name}", hidden=json) as progress:
        prepared = asyncio.run(training_data.prepare(data, update, labels, progress))
    _tell_rejected(prepared.rejected)
    return prepared


def _tell_rejected(rejected: Mapping[str, str]) -> None:
    for name, reason in rejected.items():
        console.person().print(f"[yellow]left out:[/] {name}: {reason}", soft_wrap=True)


@contextmanager
def _bar(title: str, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import Progress  # noqa: PLC0415 - for people only

    person = console.person()
    with Progress(console=person, transient=True, disable=hidden or not person.is_terminal) as bars:
        bar = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
