"""The commands of `finetuned author`: a file in, a changed file out, and what changed in a sentence or two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetuned import files
from finetuned.edge import author_changes, console
from finetuned.edge.author_samples import first_samples
from finetuned.edge.pairs import pairs
from finetuned.edge.resuming import check_places, mode_for
from finetuned.edge.threads import threads_of
from finetuned.edge.wording import counted
from finetuned.errors import ModelError, ParameterError, RequestError
from finetuned.graph.program import compile_inference
from finetuned.parameters import number_of
from finetuned.service.describe import why_not
from finetuned.service.models import read
from finetuned.spec import author, check, codec
from finetuned.spec.names import quoted, shortened
from finetuned.update.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is changed, and where the result goes."""

    model: Path
    out: Path
    json: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How `updatable` lets a network be trained; `labels` are those of a new head, `parameters` are as typed."""

    labels: Sequence[str]
    optimizer: str
    parameters: list[str] | None
    output: str
    softmax: bool
    beyond_coreml: bool


def _done(job: Job, change: Callable[[bytes], bytes]) -> None:
    """Read, change, write aside and rename, and say what changed."""
    check_places(job.out)
    before = read(job.model)
    after = change(before)
    made = codec.decode(after)
    changed = author_changes.between(codec.decode(before), made)
    if made.updatable and (reasons := why_not(made, beyond_coreml=bool(check.departures(made)))):
        raise ModelError(f"the model that this would make is refused: {shortened('; '.join(reasons))}")
    files.write_atomically(job.out.absolute(), after, mode=mode_for(job.out, job.model))
    if job.json:
        console.line({"model": str(job.model), "out": str(job.out), "changed": changed})
        return
    for sentence in changed or ["nothing changed"]:
        console.say(sentence)
    console.say("saved ", (str(job.out), "bold green"))


def _text(value: str, option: str) -> str:
    """Return a text that a file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(f"{option} {quoted(value)} is not UTF-8") from error
    return value


# ── making ──────────────────────────────────────────────────────────────────────────────────────
def choice(layers: str, last: int, *, everything: bool) -> author.Marked:
    """Return which layers are meant; without a word the last fully connected one."""
    names = [name.strip() for name in _text(layers, "--layers").split(",") if name.strip()]
    if sum((bool(names), bool(last), everything)) > 1:
        raise ParameterError("--layers, --last and --all exclude each other")
    return author.Marked(layers=names, last=last or int(not names and not everything), everything=everything)


def updatable(job: Job, marked: author.Marked, training: Training) -> None:
    """Make a network updatable."""
    labels = [_text(label, "--label") for label in training.labels]

    def change(data: bytes) -> bytes:
        return author.updatable(
            author.with_labels(data, labels) if labels else data,
            marked,
            optimizer=training.optimizer,
            parameters=_settings(training.parameters),
            output=_text(training.output, "--output"),
            softmax=training.softmax,
            beyond_coreml=training.beyond_coreml,
        )

    _done(job, change)


def _settings(typed: list[str] | None) -> dict[str, Any]:
    return {name: author.setting(name, text) for name, text in pairs(typed, "-p").items()}


def vote(k: str, **words: Any) -> author.Vote:  # noqa: ANN401 - the fields of Vote, as typed
    """Return how a k-NN classifier decides, out of what is typed."""
    if words["default"] is not None:
        _text(words["default"], "--default")
    return author.Vote(k=author.setting("numberOfNeighbors", k), **words)


def neighbors(job: Job, at: str, how: author.Vote) -> None:
    """Turn a network into an extractor and an empty k-NN classifier."""
    layer = _text(at, "--at")
    _done(job, lambda data: author.nearest(data, at=layer, vote=how, dimensions=_dimensions(data, layer)))


def _dimensions(data: bytes, at: str) -> int:
    """Return how many numbers a sample has there; where the layers before do not say it, by compiling them."""
    if known := author.dimensions(data, at):
        return known
    program = compile_inference(codec.decode(author.front(data, at, 1)))
    return math.prod(next(iter(program.outputs.values())))


# ── labels and samples ──────────────────────────────────────────────────────────────────────────
def add_label(job: Job, label: str, samples: Path | None, threads: int) -> None:
    """Add a label to a network."""
    new = _text(label, "LABEL")

    def change(data: bytes) -> bytes:
        if samples is None:
            return author.with_label(data, new)
        front = codec.decode(author.backbone(data))
        inputs, place = first_samples(samples, front, new)
        (features,) = Predictor(front, threads=threads_of(threads)).outputs(inputs).values()
        if not job.json:
            console.say(f"made from {counted(len(features), 'sample')} of {place}")
        return author.with_label(data, new, features.reshape(len(features), -1))

    _done(job, change)


def remove_label(job: Job, label: str) -> None:
    """Remove a label."""
    _done(job, lambda data: author.without_label(data, label))


def samples(model: Path, *, json: bool) -> None:
    """Show where in the file the samples of each label are."""
    learner = codec.decode(read(model)).learner
    if learner.neighbors is None:
        raise ModelError(f"a {learner.kind} stores no samples; a k-NN classifier does")
    labels = learner.neighbors.labels
    if json:
        console.line({"model": str(model), "labels": labels})
        return
    places: dict[str, list[int]] = {}
    for position, label in enumerate(labels):
        places.setdefault(str(label), []).append(position)
    rows = [(label, len(found), _ranges(found)) for label, found in places.items()]
    console.table("", ("label", "samples", "positions"), rows)


def _ranges(positions: Sequence[int]) -> str:
    """Return ascending positions in short: `0-9 20 22`."""
    starts = [each for each, before in zip(positions, (-2, *positions), strict=False) if each != before + 1]
    ends = [each for each, after in zip(positions, (*positions[1:], -2), strict=True) if after != each + 1]
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def remove_samples(job: Job, positions: Sequence[int]) -> None:
    """Remove samples by their positions."""
    _done(job, lambda data: author.without_samples(data, positions))


def empty(job: Job) -> None:
    """Remove all samples."""
    _done(job, author.emptied)


# ── settings ────────────────────────────────────────────────────────────────────────────────────
def change(job: Job, parameters: list[str] | None, pixel_scale: str, voting: Mapping[str, Any]) -> None:
    """Set parameters, the scale of pixels, how a k-NN classifier votes."""
    settings, scale = _settings(parameters), _scale(pixel_scale) if pixel_scale else None
    if not settings and scale is None and not voting:
        raise ParameterError("there is nothing to set; finetuned author set --help says what can be")
    if "default" in voting:
        _text(voting["default"], "--default")

    def changed(data: bytes) -> bytes:
        if scale is not None:
            data = author.scaled(data, scale)
        if voting:
            data = author.voting(data, **voting)
        return author.with_parameters(data, settings) if settings else data

    _done(job, changed)


def _scale(text: str) -> float:
    """Read a number or a fraction."""
    above, slash, below = (part.strip() for part in text.partition("/"))
    divisor = number_of(below) if slash else 1.0
    scale = number_of(above) / divisor if divisor else math.nan
    if not math.isfinite(scale):
        raise ParameterError(
            f"--pixel-scale {quoted(text)} is no number; write 0.00392 or 1/255, for instance"
        )
    return scale


def describe(
    model: Path, out: Path | None, texts: Mapping[str, str], entries: list[str] | None, *, json: bool
) -> None:
    """Show a model's metadata, or set them."""
    given = {**pairs(entries, "--entry"), **texts}
    if given and out is None:
        raise RequestError("say with -o where the model goes; it may be the same file")
    if given and out is not None:
        for key, text in given.items():
            _text(key, "--entry")
            _text(text, key)
        _done(Job(model=model, out=out, json=json), lambda data: author.described(data, given))
        return
    found = codec.decode(read(model)).description.metadata
    if json:
        console.line({"model": str(model), "metadata": found})
        return
    for key, text in found.items():
        console.say((key, "bold"), f": {text}")
    if not found:
        console.say("the model says nothing of itself")
