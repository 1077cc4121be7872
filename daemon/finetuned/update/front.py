"""The models of a pipeline that are only run: from the pipeline's inputs to what a later model takes in.

Models are wired by name (COREML.md §5).  What a model makes, later models of the same pipeline see, the latest of a name
first; of a pipeline inside a pipeline only its declared outputs.  A model that nobody needs anything of is not run.
Only arrays go from model to model: a label or a dictionary is nothing that a later model could take.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from finetuned.errors import ModelError
from finetuned.graph.program import Program, compile_inference
from finetuned.spec.model import ArrayType
from finetuned.spec.names import quoted
from finetuned.spec.rules.pipelines import scopes
from finetuned.update.devices import CPU
from finetuned.update.features import inputs_of
from finetuned.update.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from finetuned.spec.model import Feature, Model
    from finetuned.update.features import Array
    from finetuned.update.sessions import Move

_RUN = "run"


# ── what is run ─────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A model that is run: `inputs` are those that it needs, `outputs` those that somebody needs of it.

    A network has a program, a pipeline its own stages.
    """

    model: Model
    inputs: tuple[str, ...]
    outputs: tuple[Feature, ...]
    program: Program | None = None
    stages: tuple[Stage, ...] = ()


def staged(
    pipeline: Model, count: int, wanted: Iterable[Feature]
) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """Return what must be run of a pipeline's first `count` models to have these features, and which inputs it needs.

    Raises:
        ModelError: one of them cannot be run, or makes something else than arrays of what is wanted.
    """
    needed = {feature.name: feature for feature in wanted}
    found: list[Stage] = []
    for scope, model in reversed(list(zip(scopes(pipeline), pipeline.models, strict=True))[:count]):
        made = tuple(feature for feature in model.description.outputs if feature.name in needed)
        if not made:
            continue
        stage = _stage(scope, model, made)
        for feature in made:
            del needed[feature.name]
        needed |= {f.name: f for f in model.description.inputs if f.name in stage.inputs}
        found.append(stage)
    return tuple(reversed(found)), tuple(needed)


def _stage(scope: str, model: Model, made: tuple[Feature, ...]) -> Stage:
    for feature in made:
        if not isinstance(feature.type, ArrayType):
            raise ModelError(
                f"the model {quoted(scope)} hands on {quoted(feature.name)}, which is no multi-array; between the models "
                "of a pipeline finetuned takes nothing else, no images either"
            )
    try:
        if model.models:
            stages, inputs = staged(model, len(model.models), made)
            return Stage(model=model, inputs=inputs, outputs=made, stages=stages)
        program = compile_inference(model, [feature.name for feature in made])
        _check_sizes(program, made)
    except ModelError as error:
        raise ModelError(f"in {quoted(scope)}: {error}") from error
    return Stage(model=model, inputs=tuple(program.inputs), outputs=made, program=program)


def _check_sizes(program: Program, made: Iterable[Feature]) -> None:
    for feature in made:
        size = program.outputs[feature.name]
        shape = _shape_of(feature)
        if shape and prod(size) != prod(shape):
            raise ModelError(
                f"the output {quoted(feature.name)} is described as {list(shape)}, and its layers make {list(size)}"
            )


def _shape_of(feature: Feature) -> tuple[int, ...]:
    """Return the shape that an output is described with; () where it is not."""
    return feature.type.shape if isinstance(feature.type, ArrayType) else ()


# ── running ─────────────────────────────────────────────────────────────────────────────────────
class Front:
    """Runs stages.

    Args:
        stages: what is run, in this order.
        threads: threads of one run.
        devices: where to compute, the most wanted first.
        accelerated: False: on the CPU, until `accelerate` says otherwise.

    Raises:
        HostError: there is no memory for them.
        ModelError: onnxruntime cannot run one.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        *,
        threads: int = 1,
        devices: Sequence[str] = (CPU,),
        accelerated: bool = True,
    ) -> None:
        def opened(stage: Stage) -> Sessions | Front:
            if stage.program is None:
                return Front(stage.stages, threads=threads, devices=devices, accelerated=accelerated)
            programs = {_RUN: stage.program}
            return Sessions(programs, devices=devices, threads=threads, accelerated=accelerated)

        self._runs = tuple((stage, opened(stage)) for stage in stages)

    def __len__(self) -> int:
        """Return how many models are run."""
        return len(self._runs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the inputs and all that the stages make, float32 [N, …], by name.

        Raises:
            SampleError: a model makes numbers of a sample that are infinite or NaN, and a later one takes them.
        """
        blobs = dict(inputs)
        for stage, run in self._runs:
            given = inputs_of(stage.model, {name: blobs[name] for name in stage.inputs}, needed=stage.inputs)
            made = run.run(given) if isinstance(run, Front) else run.run(_RUN, given)
            blobs |= {feature.name: _shaped(made[feature.name], feature) for feature in stage.outputs}
        return blobs

    @property
    def device(self) -> str:
        """Where the first of them is computed; the CPU where there is none."""
        return next((run.device for _, run in self._runs), CPU)

    def accelerate(self, *, accelerated: bool) -> None:
        """Compute on the most wanted device that there is from now on, or on the CPU."""
        for _, run in self._runs:
            run.accelerate(accelerated=accelerated)

    def news(self) -> list[Move]:
        """Return what has not been told yet, all that they have in common once."""
        return list(dict.fromkeys(move for _, run in self._runs for move in run.news()))


def _shaped(array: Array, feature: Feature) -> Array:
    """Return what a model makes in the shape that it is described with."""
    shape = _shape_of(feature) or array.shape[1:]
    return array.reshape(len(array), *shape)
