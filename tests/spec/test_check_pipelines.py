"""COREML.md §5: what `check` says of pipelines, a row a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import networks as n
from finetuned.spec import coreml_pb2 as pb
from more_models import front, neighbors, pipeline, with_nan
from shared import shared
from spec.row import Row, assign, judge, reasons

if TYPE_CHECKING:
    from collections.abc import Callable


def inside(model: pb.Model) -> pb.Pipeline:
    return model.pipelineClassifier.pipeline


def embedding(model: pb.Model) -> pb.FeatureDescription:
    """Return the frozen model's output, from which the last model takes its input."""
    return inside(model).models[0].description.output[0]


def first_layer(model: pb.Model) -> pb.InnerProductLayerParams:
    return inside(model).models[0].neuralNetwork.layers[0].innerProduct


def of_kind(kind: str) -> Callable[[pb.Model], None]:
    """Make the first model one of another kind, its inputs and outputs the same."""

    def change(model: pb.Model) -> None:
        first = inside(model).models[0]
        first.ClearField("Type")
        if kind:
            getattr(first, kind).SetInParent()

    return change


def mark_the_front(model: pb.Model) -> None:
    """Make the front a network that could be trained by itself."""
    sound = n.trainable([n.dense(4, 6, updatable=True)], [6])
    sound.neuralNetwork.layers[0].output[0] = "embedding"
    sound.neuralNetwork.updateParams.lossLayers[0].meanSquaredErrorLossLayer.input = "embedding"
    del sound.description.output[:]
    sound.description.output.add().CopyFrom(embedding(model))
    inside(model).models[0].CopyFrom(sound)


def rename_the_embedding(model: pb.Model) -> None:
    """Let the front make a blob that nobody takes."""
    embedding(model).name = "other"
    inside(model).models[0].neuralNetwork.layers[0].output[0] = "other"


def nest_the_front(model: pb.Model) -> None:
    """Put the front into a pipeline of its own, and break it there."""
    nested = pb.Model(specificationVersion=1)
    nested.pipeline.models.add().CopyFrom(inside(model).models[0])
    nested.description.CopyFrom(inside(model).models[0].description)
    nested.pipeline.models[0].neuralNetwork.layers[0].input[0] = "nowhere"
    inside(model).models[0].CopyFrom(nested)


ROWS = [
    Row(rule="pipelineNames", change=lambda m: inside(m).names.append("one"), words=("1 names for 2 models",)),
    Row(rule="pipelineNames", change=lambda m: inside(m).names.extend(["twin", "twin"]), words=("'twin' stands for 2 models",)),
    Row(rule="pipelineWiring", layer="model1", change=rename_the_embedding, besides=("trainingInputs",), words=("the input 'embedding' of the model 'model1'", "neither an input of the pipeline nor an output")),
    Row(rule="pipelineWiring", layer="model1", change=lambda m: embedding(m).type.multiArrayType.shape.append(1), words=("MultiArray [4] of DOUBLE, and what comes in is MultiArray [4, 1] of DOUBLE",)),
    Row(rule="pipelineWiring", layer="model1", change=lambda m: assign(embedding(m).type.multiArrayType, dataType=pb.ArrayFeatureType.FLOAT32), words=("what comes in is MultiArray [4] of FLOAT32",)),
    Row(rule="pipelineWiring", change=lambda m: m.description.output.add(name="nobody").type.stringType.SetInParent(), words=("the output 'nobody' of the pipeline is neither",)),
    Row(rule="pipelineWiring", change=lambda m: m.description.output[0].type.int64Type.SetInParent(), words=("the output 'label' of the pipeline is of the type int64, and what comes in is string",)),
    Row(rule="pipelineMarks", layer="model0", change=mark_the_front, words=("only the last model", "'model0' at position 0 of 2")),
    Row(rule="pipelineMarks", layer="model1", change=lambda m: assign(inside(m).models[1], isUpdatable=False), words=("the last model in an updatable pipeline, 'model1', is not marked",)),
    Row(rule="modelType", layer="model0", change=of_kind("linkedModel"), words=("'model0' inside the pipeline is of type linkedModel",), apple="accepts"),
    Row(rule="modelType", layer="model0", change=of_kind("visionFeaturePrint"), words=("of type visionFeaturePrint, which finetuned cannot run",), apple="accepts"),
    Row(rule="modelType", layer="model0", change=of_kind("mlProgram"), words=("of type mlProgram",), apple="accepts"),
    Row(rule="modelType", layer="model0", change=of_kind(""), words=("of type unknown",)),
    Row(rule="weights", layer="model0.l0", change=lambda m: assign(first_layer(m).weights, floatValue=bytes(92)), words=("in 'model0': the weights of the layer 'l0'", "23 numbers where the layer needs 24")),
    Row(rule="blobMissing", layer="model0.model0.l0", change=nest_the_front, words=("in 'model0': in 'model0': the layer 'l0' takes 'nowhere'",)),
    Row(rule="notFinite", layer="model1", change=lambda m: with_nan(inside(m).models[1]), words=("in 'model1': 4 of the 12 stored numbers",), apple="accepts"),
    Row(rule="specificationVersion", layer="model0", change=lambda m: assign(inside(m).models[0], specificationVersion=11), words=("in 'model0': the specification version is 11",)),
    Row(rule="updatableVersion", layer="model1", change=lambda m: assign(inside(m).models[1], specificationVersion=3), words=("in 'model1'",)),
    Row(rule="trainingInputs", change=lambda m: m.description.ClearField("trainingInput"), words=("the pipeline has no training inputs",), apple="accepts"),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput.pop(1), words=("'label' is needed to train 'model1'", "neither a model before it makes it", "('x')"), apple="accepts"),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput.pop(0), words=("'x' is needed to train 'model1'",), apple="accepts"),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput[1].type.int64Type.SetInParent(), words=("'label' is of the type int64; string is needed",), apple="accepts"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_a_broken_rule_is_found_and_no_other(row: Row) -> None:
    judge(pipeline(), row)


def rules(model: pb.Model) -> set[str]:
    return {reason.rule for reason in reasons(model)}


def test_an_empty_pipeline_is_refused() -> None:
    model = pipeline()
    del inside(model).models[:]
    assert rules(model) == {"pipelineEmpty"}


def test_an_updatable_model_inside_a_pipeline_that_is_not_is_refused() -> None:
    (unmarked, inner) = reasons(pipeline(updatable=False))
    assert (unmarked.rule, inner.rule, inner.layer) == ("isUpdatable", "pipelineMarks", "model1")
    assert "inside a non-updatable pipeline" in inner.message


@pytest.mark.parametrize("names", [(), ("eyes", "memory")])
def test_names_are_the_scopes_of_what_is_inside(names: tuple[str, ...]) -> None:
    model = pipeline(names=names)
    assert reasons(model) == ()
    with_nan(inside(model).models[1])
    assert [reason.layer for reason in reasons(model)] == [names[1] if names else "model1"]


def test_pipelines_nest_where_the_rule_holds_at_each_level() -> None:
    assert reasons(pipeline(pipeline())) == ()
    inner = pipeline(updatable=False)
    assert rules(pipeline(inner)) == {"pipelineMarks"}


@pytest.mark.parametrize("form", ["pipeline", "pipelineRegressor"])
def test_every_form_of_a_pipeline_is_read(form: str) -> None:
    model = pipeline()
    held = pb.Pipeline()
    held.CopyFrom(inside(model))
    held.models[1].isUpdatable = False
    getattr(model, form).CopyFrom(held if form == "pipeline" else pb.PipelineRegressor(pipeline=held))
    assert rules(model) == {"pipelineMarks"}


def test_the_last_model_may_take_the_pipelines_own_input() -> None:
    model = pipeline(neighbors())
    assert reasons(model) == ()


def test_a_front_that_nobody_needs_for_training_asks_for_nothing() -> None:
    model = pipeline(front(), neighbors())
    embedding(model).name = "aside"
    inside(model).models[0].neuralNetwork.layers[0].output[0] = "aside"
    model.description.input.add().CopyFrom(inside(model).models[1].description.input[0])
    model.description.trainingInput[0].CopyFrom(inside(model).models[1].description.input[0])
    assert reasons(model) == ()


@pytest.mark.parametrize(
    "name",
    [
        "apple_updatable_drawing/UpdatableDrawingClassifier.mlmodel",
        "updatable_built/HandskNN_MobileNetV2_int8_updatable.mlmodel",
        "thirdparty_updatable/postal_UpdatableKNN.mlmodel",
    ],
)
def test_real_ones_have_no_fault(name: str) -> None:
    assert reasons(pb.Model.FromString(shared(name).read_bytes())) == ()
