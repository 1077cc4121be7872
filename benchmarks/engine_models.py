"""The models that the engine is measured on, and what each is trained with: Core ML files as coremltools would write them.

Random weights from a fixed seed, He's scale; every contender begins with the same numbers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetuned.spec import codec
from finetuned.spec import coreml_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec.model import Model

Array = NDArray[Any]
Layer = pb.NeuralNetworkLayer

SHARED = Path(os.environ.get("FINETUNED_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
LENET = "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel"
MOBILENET = "updatable_built/Hands_MobileNetV2_int8_updatable.mlmodel"
INPUT = "x"
SEED = 7
"""Of the batches' order."""
PARAMETERS: dict[str, dict[str, float]] = {
    "adamOptimizer": {"learningRate": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    "sgdOptimizer": {"learningRate": 0.01, "momentum": 0.9},
}
NAMES = {"adamOptimizer": "Adam", "sgdOptimizer": "SGD with momentum"}


# ── layers ──────────────────────────────────────────────────────────────────────────────────────
def _filled(message: pb.WeightParams, shape: tuple[int, ...], fan_in: int) -> None:
    values = np.random.default_rng([SEED, *shape]).normal(scale=(2 / fan_in) ** 0.5, size=shape)
    message.floatValue = values.astype("<f4").tobytes()
    message.isUpdatable = True


def dense(outputs: int, inputs: int) -> Layer:
    """Return a trained fully connected layer."""
    layer = Layer(isUpdatable=True)
    layer.innerProduct.inputChannels, layer.innerProduct.outputChannels = inputs, outputs
    layer.innerProduct.hasBias = True
    _filled(layer.innerProduct.weights, (outputs, inputs), inputs)
    _filled(layer.innerProduct.bias, (outputs,), inputs)
    return layer


def convolution(outputs: int, inputs: int, kernel: int) -> Layer:
    """Return a trained convolution of stride 1 that keeps height and width."""
    layer = Layer(isUpdatable=True)
    message, fan_in = layer.convolution, inputs * kernel**2
    message.outputChannels, message.kernelChannels, message.nGroups = outputs, inputs, 1
    for sizes, size in ((message.kernelSize, kernel), (message.stride, 1), (message.dilationFactor, 1)):
        sizes.extend((size, size))
    message.same.SetInParent()
    message.hasBias = True
    _filled(message.weights, (outputs, inputs, kernel, kernel), fan_in)
    _filled(message.bias, (outputs,), fan_in)
    return layer


def relu() -> Layer:
    """Return max(x, 0)."""
    layer = Layer()
    layer.activation.ReLU.SetInParent()
    return layer


def pool(*, everything: bool = False) -> Layer:
    """Return the maximum of 2 by 2, or the average of all."""
    layer = Layer()
    message = layer.pooling
    message.type = pb.PoolingLayerParams.AVERAGE if everything else pb.PoolingLayerParams.MAX
    message.kernelSize.extend((2, 2))
    message.stride.extend((2, 2))
    message.valid.SetInParent()
    message.globalPooling = message.avgPoolExcludePadding = everything
    return layer


def flatten() -> Layer:
    """Return [C, H, W] → [C·H·W]."""
    layer = Layer()
    layer.flatten.mode = pb.FlattenLayerParams.CHANNEL_FIRST
    return layer


# ── networks ────────────────────────────────────────────────────────────────────────────────────
def network(layers: list[Layer], shape: tuple[int, ...], optimizer: str) -> Model:
    """Return a chain from `x` [shape] through a softmax to cross entropy, trained by `optimizer`."""
    message = pb.Model(specificationVersion=4, isUpdatable=True)
    softmax = Layer()
    softmax.softmax.SetInParent()
    before = INPUT
    for number, layer in enumerate([*layers, softmax]):
        layer.name, name = f"l{number}", f"l{number}"
        layer.input.append(before)
        layer.output.append(name)
        before = name
    message.neuralNetwork.layers.extend([*layers, softmax])
    described = message.description
    _array(described.input.add(name=INPUT), shape)
    _array(described.output.add(name=before), ())
    described.trainingInput.add().CopyFrom(described.input[0])
    _array(described.trainingInput.add(name="target"), (1,))
    update = message.neuralNetwork.updateParams
    loss = update.lossLayers.add(name="loss").categoricalCrossEntropyLossLayer
    loss.input, loss.target = before, "target"
    for name, value in (PARAMETERS[optimizer] | {"miniBatchSize": 32}).items():
        getattr(getattr(update.optimizer, optimizer), name).defaultValue = value
    update.epochs.defaultValue, update.shuffle.defaultValue, update.seed.defaultValue = 1, True, SEED
    return codec.decode(message.SerializeToString(deterministic=True))


def _array(feature: pb.FeatureDescription, shape: tuple[int, ...]) -> None:
    feature.type.multiArrayType.shape.extend(shape)
    feature.type.multiArrayType.dataType = pb.ArrayFeatureType.FLOAT32


def head(classes: int, optimizer: str, inputs: int = 1280) -> Model:
    """Return one dense layer."""
    return network([dense(classes, inputs)], (inputs,), optimizer)


def mlp(optimizer: str) -> Model:
    """Return 1280 → 256 → 100."""
    return network([dense(256, 1280), relu(), dense(100, 256)], (1280,), optimizer)


def digits(optimizer: str) -> Model:
    """Return the convnet of 28 by 28 digits: two convolutions, two dense layers."""
    convolutions = [convolution(32, 1, 3), relu(), pool(), convolution(64, 32, 3), relu(), pool()]
    return network(
        [*convolutions, flatten(), dense(128, 64 * 49), relu(), dense(10, 128)], (1, 28, 28), optimizer
    )


def pointwise(optimizer: str) -> Model:
    """Return the end of a MobileNetV2: 1x1 convolution 320 → 1280, ReLU, the average of 7 by 7, a dense layer."""
    layers = [convolution(1280, 320, 1), relu(), pool(everything=True), flatten(), dense(10, 1280)]
    return network(layers, (320, 7, 7), optimizer)


def shared_model(name: str) -> Model:
    """Return a model of the shared data."""
    return codec.decode((SHARED / name).read_bytes())


# ── tasks ───────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is trained: `aim` is how many times as fast as PyTorch eager it shall be."""

    title: str
    make: Callable[[str], Model]
    shape: tuple[int, ...]
    classes: int
    aim: float
    samples: int = 512
    needs: str = ""
    """A file of the shared data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A task as it is measured in one duel."""

    task: str
    batch: int = 32
    optimizer: str = "adamOptimizer"
    threads: int = 1

    @property
    def whole(self) -> Task:
        """The task itself."""
        return TASKS[self.task]


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What is trained on: features float32 [N, *shape], labels int64 [N], both random."""

    features: Array
    labels: Array
    batch: int
    orders: dict[int, Array] = field(default_factory=dict)

    @property
    def batches(self) -> int:
        """Mini-batches in an epoch; none is partial."""
        return len(self.labels) // self.batch

    def rows(self, step: int) -> Array:
        """Return the samples of a step, in the very order in which finetuned takes them."""
        epoch, batch = divmod(step, self.batches)
        if epoch not in self.orders:
            self.orders.clear()
            self.orders[epoch] = np.random.default_rng([SEED, epoch]).permutation(len(self.labels))
        return self.orders[epoch][batch * self.batch : (batch + 1) * self.batch]


def samples_of(setting: Setting) -> Samples:
    """Return the task's samples."""
    task, rng = setting.whole, np.random.default_rng(SEED)
    features = rng.normal(size=(task.samples, *task.shape)).astype(np.float32)
    labels = rng.integers(task.classes, size=task.samples)
    return Samples(features=features, labels=labels, batch=setting.batch)


def parameters_of(setting: Setting) -> dict[str, float]:
    """Return the parameters in force, by Apple's names."""
    fixed = {"miniBatchSize": setting.batch, "epochs": 10**9, "shuffle": True, "seed": SEED}
    return {**PARAMETERS[setting.optimizer], **fixed}


TASKS: dict[str, Task] = {
    "head5": Task(title="head 1280 → 5", make=partial(head, 5), shape=(1280,), classes=5, aim=2.0),
    "head100": Task(title="head 1280 → 100", make=partial(head, 100), shape=(1280,), classes=100, aim=2.0),
    "mlp": Task(title="MLP 1280 → 256 → 100", make=mlp, shape=(1280,), classes=100, aim=1.4),
    "digits": Task(title="MNIST convnet", make=digits, shape=(1, 28, 28), classes=10, aim=1.2),
    "lenet": Task(
        title="LeNet of the shared data",
        make=lambda _: shared_model(LENET),
        shape=(1, 28, 28),
        classes=10,
        aim=1.2,
        needs=LENET,
    ),
    "pointwise": Task(
        title="1x1 convolution 320 → 1280, pool, dense",
        make=pointwise,
        shape=(320, 7, 7),
        classes=10,
        aim=1.2,
        samples=256,
    ),
    "tiny": Task(
        title="head 16 → 3 (a trial)",
        make=partial(head, 3, inputs=16),
        shape=(16,),
        classes=3,
        aim=0.0,
        samples=64,
    ),
}
