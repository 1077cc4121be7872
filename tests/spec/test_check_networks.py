"""COREML.md §1 and §2: what `check` says of networks, a row a rule."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from builders import dense_classifier, dense_regressor
from finetuned.spec import coreml_pb2 as pb
from spec import edits as e
from spec.row import Row, assign, judge, reasons

NAN, INF = (np.full(count, value, "<f4").tobytes() for count, value in ((8, np.nan), (32, np.inf)))

CONTAINER = [
    Row(rule="specificationVersion", change=lambda m: assign(m, specificationVersion=11), words=("is 11; 1 to 10",)),
    Row(rule="isUpdatable", change=lambda m: assign(m, isUpdatable=False), words=("isUpdatable is false",), apple="accepts"),
    Row(rule="updatableVersion", change=lambda m: assign(m, specificationVersion=3), words=("is 3", "must be 4 or above")),
    Row(rule="modelType", change=lambda m: m.glmClassifier.SetInParent(), words=("glmClassifier is not supported for on-device update",)),
    Row(rule="modelType", change=lambda m: m.mlProgram.SetInParent(), words=("mlProgram",)),
    Row(rule="modelType", change=lambda m: m.linkedModel.SetInParent(), words=("linkedModel",)),
    Row(rule="modelType", change=lambda m: m.visionFeaturePrint.SetInParent(), words=("visionFeaturePrint",)),
]  # fmt: skip

FEATURES = [
    Row(rule="featureMissing", change=e.no_inputs, words=("has no input",), besides=("blobMissing", "trainingInputs")),
    Row(rule="featureMissing", change=lambda m: m.description.ClearField("output"), words=("has no output",), besides=("predictedFeature", "trainingInputs")),
    Row(rule="featureName", change=lambda m: m.description.output.add().CopyFrom(m.description.output[0]), words=("2 outputs are named 'labelProbability'",), apple="accepts"),
    Row(rule="featureName", change=lambda m: m.description.output.add().type.stringType.SetInParent(), words=("1 outputs are named ''",)),
    Row(rule="featureType", change=e.sequence_input, words=("'features' is of type sequenceType",)),
    Row(rule="featureType", change=lambda m: m.description.output[0].ClearField("type"), words=("'labelProbability' is of type none",), besides=("predictedFeature",)),
    Row(rule="featureType", change=lambda m: e.of_inputs(m, dataType=0), words=("'features' holds INVALID_ARRAY_DATA_TYPE", "DOUBLE, FLOAT32, INT32")),
    Row(rule="featureType", change=lambda m: e.of_inputs(m, dataType=77), words=("'features' holds 77",)),
    Row(rule="featureShape", change=e.shapeless, words=("has the size []",)),
    Row(rule="featureShape", change=lambda m: e.shaped(m, -4), words=("has the size [-4]",), besides=("channels",)),
    Row(rule="featureShape", change=lambda m: e.shaped(m, 0), words=("has the size [0]",), apple="accepts", besides=("channels",)),
    Row(rule="featureShape", change=lambda m: e.shaped(m, 4, 1 << 40, 1 << 40), words=("268435456 numbers at most",), apple="accepts", besides=("channels",)),
    Row(rule="optional", change=lambda m: assign(m.description.output[0].type, isOptional=True), words=("the output 'labelProbability' is optional",)),
    Row(rule="optional", change=e.optional_inputs, words=("all inputs are optional",)),
    Row(rule="predictedFeature", change=lambda m: m.description.ClearField("predictedFeatureName"), words=("names no predictedFeatureName",), besides=("trainingInputs",)),
    Row(rule="predictedFeature", change=lambda m: assign(m.description, predictedFeatureName="nowhere"), words=("'nowhere' is no output", "'label', 'labelProbability'"), besides=("trainingInputs",)),
    Row(rule="predictedFeature", change=e.int_labels, words=("'label' is of the type string; int64 is needed",)),
    Row(rule="predictedFeature", change=lambda m: assign(m.description, predictedProbabilitiesName="label"), words=("'label' are of the type string; a dictionary is needed",)),
]  # fmt: skip

LAYERS = [
    Row(rule="layersMissing", change=e.no_layers, words=("no layers",), besides=("lossInput", "noUpdatableLayer", "outputMissing")),
    Row(rule="blobMissing", layer="hidden", change=lambda m: e.rewire(m, 0, "nowhere"), words=("'hidden' takes 'nowhere'", "no input or earlier layer makes")),
    Row(rule="blobMissing", layer="hidden", change=lambda m: e.rewire(m, 0, "hidden_output"), words=("'hidden' takes 'hidden_output'",), besides=("channels",)),
    Row(rule="blobMadeTwice", layer="hidden", change=lambda m: e.network(m).layers[0].output.append("features"), words=("'hidden' makes 'features'", "an input or made before"), besides=("layerEnds",)),
    Row(rule="layerEnds", layer="hidden", change=lambda m: e.network(m).layers[0].output.append("more"), words=("'hidden' (innerProduct) has 1 inputs and 2 outputs",)),
    Row(rule="layerEnds", layer="activation", change=lambda m: e.network(m).layers[1].ClearField("input"), words=("'activation' (activation) has 0 inputs and 1 outputs; one of each",)),
    Row(rule="layerEnds", layer="output", change=lambda m: e.network(m).layers[2].input.append("features"), words=("'output' (innerProduct) has 2 inputs",), besides=("backpropagation",)),
    Row(rule="outputMissing", change=lambda m: assign(e.network(m), labelProbabilityLayerName="nowhere"), words=("no layer makes the output 'nowhere'",)),
    Row(rule="weights", layer="hidden", change=lambda m: assign(e.hidden(m).weights, floatValue=bytes(4 * 31)), words=("the weights of the layer 'hidden'", "31 numbers where the layer needs 32")),
    Row(rule="weights", layer="hidden", change=lambda m: assign(e.hidden(m).bias, floatValue=b""), words=("the bias of the layer 'hidden'", "found none")),
    Row(rule="weights", layer="hidden", change=lambda m: assign(e.hidden(m).weights, int8RawValue=bytes(32)), words=("found floatValue, int8RawValue",)),
    Row(rule="notFinite", layer="hidden", change=lambda m: assign(e.hidden(m).bias, floatValue=NAN), words=("the bias of the layer 'hidden' hold NaN",), apple="accepts"),
    Row(rule="notFinite", layer="hidden", change=lambda m: assign(e.hidden(m).weights, floatValue=INF), words=("the weights of the layer 'hidden'",), apple="accepts"),
    Row(rule="channels", layer="hidden", change=e.narrow_hidden, words=("'hidden' takes 2 channels, and gets 4",), apple="accepts"),
    Row(rule="layerType", layer="lstm", change=e.use_lstm, words=("'lstm' is marked as updatable", "uniDirectionalLSTM, is neither convolution nor inner-product"), apple="cannot train it"),
    Row(rule="layerType", layer="activation", change=lambda m: assign(e.network(m).layers[1], isUpdatable=True), words=("'activation' is marked as updatable",)),
    Row(rule="noUpdatableLayer", change=e.unmark_all, words=("none of the layers are updatable",)),
    Row(rule="weightsNotMarked", layer="hidden", change=lambda m: assign(e.hidden(m).bias, isUpdatable=False), words=("'hidden', has bias not marked",)),
    Row(rule="weightsNotMarked", layer="hidden", change=lambda m: assign(e.hidden(m).weights, isUpdatable=False), words=("'hidden', has weights not marked",)),
    Row(rule="quantizedWeights", layer="hidden", change=e.quantize_hidden, words=("'hidden' has quantized weights", "not supported for update")),
    Row(rule="float16", layer="hidden", change=e.halve_hidden, words=("the weights of the layer 'hidden' are float16",), apple="cannot train it"),
    Row(rule="float16", layer="hidden", change=e.both(e.halve_hidden, e.unmark), words=("an updatable network may hold none",), apple="cannot train it"),
    Row(rule="float16", layer="activation", change=e.halved_batchnorm, words=("the gamma of the layer 'activation' are float16",), apple="cannot train it"),
    Row(rule="weights", layer="activation", change=e.short_batchnorm, words=("the mean of the layer 'activation' cannot be read: weights hold 3 numbers where the layer needs 4",)),
    Row(rule="nameCollision", layer="hidden", change=lambda m: assign(e.network(m).updateParams.lossLayers[0], name="hidden"), words=("name collision for 'hidden'", "2 layers or losses")),
    Row(rule="nameCollision", layer="output", change=lambda m: assign(e.network(m).layers[1], name="output"), words=("name collision for 'output'",)),
]  # fmt: skip

LOSSES = [
    Row(rule="lossCount", change=lambda m: e.network(m).updateParams.lossLayers.pop(), words=("has 0 loss layers",), apple="dies"),
    Row(rule="lossCount", change=lambda m: e.network(m).updateParams.lossLayers.add().CopyFrom(e.second_loss(m)), words=("has 2 loss layers; exactly one",)),
    Row(rule="lossType", layer="lossLayer", change=lambda m: e.network(m).updateParams.lossLayers[0].ClearField("LossLayerType"), words=("the type of the loss 'lossLayer' is not set",)),
    Row(rule="lossInput", layer="lossLayer", change=e.soften_with_nd, words=("the layer 'softmax' (softmaxND); it must be a softmax output",), besides=("backpropagation",)),
    Row(rule="lossInput", layer="lossLayer", change=lambda m: assign(e.loss(m), input="output_output"), words=("the layer 'output' (innerProduct)",)),
    Row(rule="lossInput", layer="lossLayer", change=lambda m: assign(e.loss(m), input="nowhere"), words=("'nowhere' of the loss 'lossLayer' is made by no layer",), besides=("lossNotReached",)),
    Row(rule="lossTarget", layer="lossLayer", change=lambda m: assign(e.loss(m), target="hidden_output"), words=("'hidden_output' of the loss 'lossLayer' is made by the layer 'hidden'",)),
    Row(rule="labels", change=lambda m: e.network(m).stringClassLabels.vector.append("d"), words=("4 class labels, and 'labelProbability' is 3 wide",), apple="accepts"),
    Row(rule="labels", change=lambda m: e.network(m).ClearField("ClassLabels"), words=("no class labels",)),
    Row(rule="labels", change=lambda m: e.network(m).stringClassLabels.vector.__setitem__(1, "a"), words=("1 of the 3 class labels are there twice",), apple="accepts"),
]  # fmt: skip

PARAMETERS = [
    Row(rule="optimizer", change=lambda m: e.network(m).updateParams.ClearField("optimizer"), words=("the optimizer is not recognized",)),
    Row(rule="parameterMissing", change=lambda m: e.sgd(m).ClearField("learningRate"), words=("sgdOptimizer should include the parameter learningRate",)),
    Row(rule="parameterMissing", change=lambda m: e.sgd(m).ClearField("miniBatchSize"), words=("miniBatchSize",)),
    Row(rule="parameterMissing", change=lambda m: e.network(m).updateParams.ClearField("epochs"), words=("should include epochs",)),
    Row(rule="parameterValue", change=lambda m: assign(e.sgd(m).learningRate, defaultValue=1.5), words=("(1.5) is out of the allowed value range 0.0 to 1.0 for learningRate",)),
    Row(rule="parameterValue", change=lambda m: assign(e.sgd(m).learningRate, defaultValue=float("nan")), words=("learningRate is nan",), apple="accepts"),
    Row(rule="parameterValue", change=lambda m: assign(e.sgd(m).momentum, defaultValue=7.5), words=("(7.5)", "momentum"), apple="accepts"),
    Row(rule="parameterValue", change=lambda m: assign(e.sgd(m).miniBatchSize.range, minValue=0), words=("miniBatchSize is expected to be positive, and its range holds 0",)),
    Row(rule="parameterValue", change=lambda m: assign(e.sgd(m).miniBatchSize, defaultValue=0), words=("its default value holds 0",)),
    Row(rule="parameterValue", change=e.epochs_of(4, 5, 10), words=("(4) is not found in the allowed values set [5, 10] for epochs",)),
    Row(rule="parameterValue", change=e.epochs_of(4, 4, -1), words=("its set holds -1",), apple="accepts"),
    Row(rule="parameterValue", change=e.epochs_of(4, -1, 4), words=("its set holds -1",)),
    Row(rule="parameterValue", change=e.epochs_of(0, 0), words=("epochs is expected to be positive",)),
    Row(rule="parameterValue", change=e.seed_out_of_range, words=("(9) is out of the allowed value range 1 to 2 for seed",)),
]  # fmt: skip

PATHS = [
    *(
        Row(rule="backpropagation", layer="hidden", change=e.use(kind), words=(f"('activation', {kind})", "between the updatable marked layer 'hidden'"))
        for kind in (
            *("leakyReLU", "ELU", "softplus", "linear", "sigmoidHard", "PReLU", "softsign", "thresholdedReLU"),
            *("reshape", "permute", "l2normalize", "lrn", "unary", "mvn", "scale", "bias", "softmax", "padding", "upsample"),
        )
    ),
    Row(rule="backpropagation", layer="hidden", change=e.add_twice, words=("('activation', add)",)),
    Row(rule="layerLater", layer="activation", change=e.use("uniDirectionalLSTM"), words=("of type uniDirectionalLSTM",), apple="cannot train it"),
    Row(rule="lossNotReached", layer="aside", change=e.spare, words=("no updatable layer leads to the loss",), apple="accepts"),
]  # fmt: skip

INPUTS = [
    Row(rule="trainingInputs", change=lambda m: m.description.ClearField("trainingInput"), words=("has 0 training inputs", "both input and target"), besides=()),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput.pop(1), words=("has 1 training inputs", "all training inputs are inputs of the model")),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput.pop(0), words=("none of the training inputs is an input of the model",)),
    Row(rule="trainingInputs", change=e.drop_exclusive_input, words=("the target of the loss is missing",)),
    Row(rule="trainingInputs", change=lambda m: assign(m.description.trainingInput[1], name="somethingElse"), words=("don't include the target of the classifier: 'label'",)),
    Row(rule="trainingInputs", change=e.int_label, words=("'label'", "doesn't match the expected type of the classifier")),
    Row(rule="trainingInputs", change=e.index_target, words=("'labelProbability_true' has the shape [3]; the loss needs 1 numbers",), apple="accepts"),
    Row(rule="trainingInputs", change=e.make_target_a_squared_error, words=("labels are no target for the loss meanSquaredErrorLossLayer",), apple="accepts"),
    Row(rule="trainingInputs", change=e.image_target, words=("the target 'labelProbability_true' is not a MultiArray",), apple="cannot train it"),
    Row(rule="trainingInputs", change=e.another_input, words=("the loss depends on the input 'more', which is not a training input",), apple="accepts"),
]  # fmt: skip


@pytest.mark.parametrize(
    "row", [*CONTAINER, *FEATURES, *LAYERS, *LOSSES, *PARAMETERS, *PATHS, *INPUTS], ids=lambda row: row.rule
)
def test_a_broken_rule_is_found_and_no_other(row: Row) -> None:
    judge(pb.Model.FromString(dense_classifier()), row)


ADAM = [
    Row(rule="parameterMissing", change=partial(e.drop_from_adam, name=name), words=(f"adamOptimizer should include the parameter {name}",))
    for name in ("learningRate", "miniBatchSize", "beta1", "beta2", "eps")
]  # fmt: skip


@pytest.mark.parametrize("row", ADAM, ids=lambda row: row.words[0])
def test_adam_needs_all_its_parameters(row: Row) -> None:
    judge(pb.Model.FromString(dense_classifier(optimizer="adamOptimizer")), row)


REGRESSOR = [
    Row(rule="trainingInputs", change=lambda m: assign(m.description.trainingInput[1], name="y"), words=("don't include the loss layer's target: 'output_true'",)),
    Row(rule="trainingInputs", change=lambda m: m.description.trainingInput[1].type.multiArrayType.shape.append(3), words=("has the shape [1, 3]; the loss needs 1 numbers",), apple="accepts"),
    Row(rule="lossInput", layer="lossLayer", change=lambda m: assign(e.squared_error(m), input="features"), words=("'features' of the loss 'lossLayer' is made by no layer; it must be the output of a layer",), besides=("lossNotReached", "trainingInputs")),
    Row(rule="outputMissing", change=lambda m: assign(m.description.output[0], name="y"), words=("no layer makes the output 'y'",)),
    Row(rule="predictedFeature", change=e.as_regressor, words=("names no predictedFeatureName",)),
    Row(rule="predictedFeature", change=partial(e.as_regressor, predicted="output", kind="stringType"), words=("'output' is of the type string; a double or a MultiArray is needed",)),
]  # fmt: skip


@pytest.mark.parametrize("row", REGRESSOR, ids=lambda row: row.rule)
def test_a_broken_regressor_is_found_out(row: Row) -> None:
    judge(pb.Model.FromString(dense_regressor()), row)


def test_all_reasons_are_told_in_apples_order() -> None:
    model = pb.Model.FromString(dense_classifier())
    e.halve_hidden(model)
    assign(e.sgd(model).momentum, defaultValue=7.5)
    e.network(model).updateParams.lossLayers.pop()
    assert [(reason.rule, reason.layer) for reason in reasons(model)] == [
        ("float16", "hidden"),
        ("lossCount", ""),
        ("parameterValue", ""),
    ]


def test_update_data_of_an_unmarked_model_is_judged_too() -> None:
    model = pb.Model.FromString(dense_classifier())
    model.isUpdatable = False
    e.network(model).updateParams.lossLayers.pop()
    assert [reason.rule for reason in reasons(model)] == ["isUpdatable", "lossCount"]
