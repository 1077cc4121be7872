"""The commands that look at one model file, without a daemon: check, predict, evaluate."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from finetuned.edge import console
from finetuned.edge.measuring import ClassifierReport, measure
from finetuned.edge.opinion import show
from finetuned.edge.pairs import pairs
from finetuned.edge.threads import threads_of
from finetuned.edge.wording import counted, figure, harmless
from finetuned.errors import ModelError, SampleError
from finetuned.service import tables, training_data
from finetuned.service.bounds import cut
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
    from finetuned.service.messages import InputSpec, ModelInfo, ParameterInfo
    from finetuned.service.opinions import SecondOpinion
    from finetuned.service.training_data import Prepared
    from finetuned.spec.model import Model
    from finetuned.update.updater import Updater

SHOWN_LABELS = 20


def load(path: Path) -> Model:
    """Read and decode a model file."""
    return codec.decode(read(path))


# ── check ───────────────────────────────────────────────────────────────────────────────────────
def check(path: Path, *, beyond_coreml: bool, second: SecondOpinion | None = None, json: bool) -> bool:
    """Show what the model is and whether it can be updated; return that, and whether the second opinion agrees."""
    model = load(path)
    info = cut(describe(model, beyond_coreml=beyond_coreml))
    name, opinion = (second.name, second.judge(model.data)) if second else ("", None)
    if json:
        console.line(info if opinion is None else {**console.plain(info), name: opinion})
    else:
        _show(path, info)
        if opinion:
            show(name, opinion)
    return info.updatable and (opinion is None or opinion.agrees)


def _show(path: Path, info: ModelInfo) -> None:
    word = ("can be updated", "bold green") if info.updatable else ("cannot be updated", "bold red")
    console.say(f"{path.name}: {info.kind}, specification version {info.specification_version}: ", word)
    for reason in info.reasons:
        console.say("  ", ("●", "red"), f" {reason}")
    for departure in info.departures:
        console.say("  ", ("leaves Core ML:", "yellow"), f" {departure}")
    for what, features in (
        ("input", info.inputs),
        ("output", info.outputs),
        ("training input", info.training_inputs),
    ):
        for feature in features:
            console.say(f"  {what} {feature.name}: {feature.type}")
    for loss in info.losses:
        console.say(f"  loss {loss['type']} on {loss['input']}")
    if info.class_labels or info.open_labels:
        more = " …" if len(info.class_labels) > SHOWN_LABELS else ""
        shown = ", ".join(map(str, info.class_labels[:SHOWN_LABELS])) or "none yet"
        new = f"; it takes new ones, of the type {info.label_kind}" if info.open_labels else ""
        console.say(f"  labels {shown}{more}{new}")
    _show_inside(info)
    if info.parameters:
        console.table(
            f"parameters ({info.optimizer})" if info.optimizer else "parameters",
            ("name", "default", "allowed"),
            [_parameter(n, p) for n, p in info.parameters.items()],
        )


def _show_inside(info: ModelInfo) -> None:
    """Tell what the model is made of: layers, models one after the other, or samples."""
    if info.samples is not None:
        console.say(f"  {counted(info.samples, 'sample')} of {counted(info.dimensions or 0, 'dimension')}")
    for inner in info.models:
        console.say(f"  model {inner['name']}: {inner['kind']}")
    if info.layers:
        rows = [
            (layer.name, layer.type, "trained" if layer.trainable else "", layer.parameters or "")
            for layer in info.layers
        ]
        console.table("layers", ("name", "type", "", "numbers"), rows)


def _parameter(name: str, row: ParameterInfo) -> tuple[object, ...]:
    if row.set is not None:
        return name, row.default, ", ".join(map(str, row.set))
    return name, row.default, f"{row.range[0]:g} to {row.range[1]:g}" if row.range else "anything"


# ── predict ─────────────────────────────────────────────────────────────────────────────────────
def predict(
    path: Path, files: list[Path], threads: int, parameters: list[str] | None = None, *, json: bool
) -> int:
    """Run the model on each file; a file that cannot be decoded is told and makes the status 1.

    A table (`.npz`, `.csv`, `.jsonl`) holds samples, each of them with all inputs; any other file is one, of a model
    of one input.
    """
    model = load(path)
    specs = sample_inputs(model)
    predictor = Predictor(model, threads=threads_of(threads), parameters=pairs(parameters, "-p"))
    if not specs:
        raise ModelError("the model has no input that a file could hold")

    async def each() -> int:
        failed = 0
        async with Decoders() as decoders:
            for file in files:
                try:
                    async for name, inputs in _samples(file, specs, decoders):
                        _tell_prediction(name, predictor, inputs, json=json)
                except SampleError as error:
                    failed += 1
                    value = {"input": str(file), "error": str(error)}
                    _tell(value, (f"{file}: {error}", "red"), json=json)
        return failed

    return console.NO if asyncio.run(each()) else console.DONE


async def _samples(
    file: Path, specs: Sequence[InputSpec], decoders: Decoders
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Yield the samples of a file, each with where it stands; SampleError where there are none."""
    if len(specs) > 1 or (not specs[0].color and file.suffix.lower() in tables.READERS):
        # No target is wanted: an input's numbers stand for it.
        wanted = tables.Wanted(inputs=tuple(specs), target=specs[0].name, labels=(), mapping={})
        for table in tables.parts(file, wanted):
            for row, name in enumerate(table.names):
                yield name, {key: array[row : row + 1] for key, array in table.inputs.items()}
        return
    raw = await decoders.decode(_there(file), file.name, specs[0])
    if isinstance(raw, Undecodable):
        raise SampleError(raw.reason)
    yield str(file), {specs[0].name: np.frombuffer(raw, specs[0].dtype).reshape(1, *specs[0].shape)}


def _there(file: Path) -> Path:
    """Return where the file is, whatever the folder."""
    if not file.is_file():
        raise SampleError("there is no such file")
    return file.absolute()


def _tell_prediction(name: str, predictor: Predictor, inputs: dict[str, Any], *, json: bool) -> None:
    if predictor.labels:
        label: str | int | None
        label, probabilities = next(predictor.classify(inputs))
        best = sorted(probabilities.items(), key=lambda item: -item[1])[:3]
        shown = ", ".join(f"{each} {share:.1%}" for each, share in best)
        named = {str(each): share for each, share in probabilities.items()}
        said: tuple[console.Part, ...] = ((str(label), "bold"), f" ({shown})")
        if not np.isfinite(list(probabilities.values())).all():
            label, said = None, (("no label: the model's probabilities are infinite or NaN", "red"),)
        value = {"input": name, "label": label, "probabilities": named}
        _tell(value, f"{name}: ", *said, json=json)
        return
    found = predictor.outputs(inputs)
    outputs = {key: array[0].ravel().tolist() for key, array in found.items()}
    broken = [key for key, array in found.items() if not np.isfinite(array).all()]
    odd = f"; {', '.join(broken)}: numbers that are infinite or NaN" if broken else ""
    _tell({"input": name, "outputs": outputs}, f"{name}: {outputs}", (odd, "red"), json=json)


def _tell(value: dict[str, Any], *words: console.Part, json: bool) -> None:
    if json:
        console.line(value)
    else:
        console.say(*words)


# ── evaluate ────────────────────────────────────────────────────────────────────────────────────
def evaluate(  # noqa: PLR0913 - what the command takes
    path: Path,
    data: Path,
    labels: list[str] | None,
    threads: int,
    parameters: list[str] | None = None,
    *,
    json: bool,
) -> None:
    """Measure the model on labelled data."""
    model, asked = load(path), pairs(parameters, "-p")
    samples = read_data(data, model, pairs(labels, "--label"), json=json)
    report = measure(model, samples.inputs, samples.targets, threads=threads_of(threads), parameters=asked)
    if json:
        console.line(report)
    else:
        _show_report(path, report, has_loss=model.learner.neighbors is None)


def _show_report(path: Path, report: Report, *, has_loss: bool) -> None:
    on = f" on {report.samples} samples"
    if not isinstance(report, ClassifierReport):
        squared, absolute = report.mean_squared_error, report.mean_absolute_error
        console.say(
            f"{path.name}: mean squared error ",
            (figure(squared, ".6g"), "bold"),
            ", mean absolute error ",
            (figure(absolute, ".6g"), "bold"),
            on,
        )
        return
    loss = f", loss {figure(report.loss, '.4f')}" if has_loss else ""
    console.say(f"{path.name}: accuracy ", (f"{report.accuracy:.1%}", "bold"), loss, on)
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
    with _bar(data, hidden=json) as progress:
        samples = asyncio.run(training_data.read(data, model, labels, progress, trains=False))
    _tell_rejected(samples.rejected)
    return samples


def prepare_data(data: Path, update: Updater, labels: dict[str, str], *, json: bool) -> Prepared:
    """Read and encode DATA, as `read_data` does; it may be larger than memory."""
    with _bar(data, hidden=json) as progress:
        prepared = asyncio.run(training_data.prepare(data, update, labels, progress))
    _tell_rejected(prepared.rejected)
    return prepared


def _tell_rejected(rejected: Mapping[str, str]) -> None:
    for name, reason in rejected.items():
        console.say(("left out:", "yellow"), f" {name}: {reason}")


@contextmanager
def _bar(data: Path, *, hidden: bool) -> Iterator[Callable[[int, int], None]]:
    from rich.markup import escape  # noqa: PLC0415 - for people only
    from rich.progress import Progress  # noqa: PLC0415 - as above

    person = console.person()
    with Progress(console=person, transient=True, disable=hidden or not person.is_terminal) as bars:
        bar = bars.add_task(f"reading {escape(harmless(data.name))}", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
