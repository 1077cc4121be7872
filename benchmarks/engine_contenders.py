"""Those who train in a duel, each in a process of its own: finetuned, onnx-ad's graph, and the bare products of a step.

PyTorch and ExecuTorch are in engine_torch.py.  Each begins with the model's own weights and takes the same mini-batches.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import engine_plain as plain
import numpy as np
from engine_models import Setting, parameters_of, samples_of

from finetuned.graph.program import Program
from finetuned.spec import codec
from finetuned.spec.model import Convolution, InnerProduct, Layer, Model
from finetuned.update import optimizer
from finetuned.update.checkpoint import Position
from finetuned.update.features import Encoded
from finetuned.update.memory import Arena
from finetuned.update.network import MiniBatch, NetworkUpdate
from finetuned.update.session import Bound, Session

if TYPE_CHECKING:
    import onnx
    from engine_models import Array


SHOWN = 8
"""Losses that are compared before anybody's speed is."""
TRIED = 30


class Contender(Protocol):
    """One who trains: `variant` says how, in words, where there is a choice."""

    variant: str

    def prepare(self) -> None:
        """Find out what has to be found out by measuring, alone on its cores."""

    def reset(self) -> None:
        """Go back to the weights of the file."""

    def run(self, steps: int) -> list[float]:
        """Make so many steps; return the mini-batches' losses."""

    def show(self) -> list[float]:
        """Return what must be the same for all: the first losses (nothing, where it only multiplies)."""


class Trainer:
    """What those who train have in common."""

    variant = ""

    def prepare(self) -> None:
        """There is nothing to be found out."""

    def reset(self) -> None:
        """Go back to the weights of the file."""
        raise NotImplementedError

    def run(self, steps: int) -> list[float]:
        """Make so many steps."""
        return [self.step(number) for number in range(steps)]

    def step(self, number: int) -> float:
        """Make a step; return the mini-batch's loss before it."""
        raise NotImplementedError

    def show(self) -> list[float]:
        """Return the first losses."""
        self.reset()
        return self.run(SHOWN)


class Finetuned(Trainer):
    """The update of a network as a worker runs it: the generator, its buffers, its optimizer."""

    def __init__(self, setting: Setting) -> None:
        model, samples = setting.whole.make(setting.optimizer), samples_of(setting)
        self._update = NetworkUpdate(model, parameters_of(setting), threads=setting.threads)
        self._data = Encoded(features=samples.features, targets=samples.labels)
        self._begun = self._update.snapshot()
        self.reset()

    def reset(self) -> None:
        """Go back to the weights of the file."""
        self._update.restore(self._begun)
        self._steps = self._update.steps(self._data, Position())

    def run(self, steps: int) -> list[float]:
        """Make so many steps."""
        losses: list[float] = []
        for event in self._steps:
            if isinstance(event, MiniBatch):
                losses.append(event.loss)
                if len(losses) == steps:
                    break
        return losses


class OnnxAd(Trainer):
    """The forward graph of ordinary operators, onnx-ad's gradients of it, and finetuned's optimizer in NumPy."""

    variant = "ordinary operators, NumPy's Adam"

    def __init__(self, setting: Setting) -> None:
        from onnx_ad import reverse  # noqa: PLC0415 - the extra `bench`

        model = setting.whole.make(setting.optimizer)
        self._samples = samples_of(setting)
        forward, names = plain.loss_model(model, setting.whole.shape, setting.batch)
        derived = reverse(forward, inputs=names, outputs=[plain.LOSS], layout="onnx", prefix="d ", dim="one")
        self._start = weights_of(model)
        self._arena = Arena({name: array.shape for name, array in self._start.items()})
        self._make = lambda: optimizer.make(
            setting.optimizer, self._arena.weights.size, parameters_of(setting)
        )
        self._features = np.empty((setting.batch, *setting.whole.shape), np.float32)
        self._labels = np.empty(setting.batch, np.int64)
        self._loss = np.empty(1, np.float32)
        self._bound = self._bind(derived, model, setting.threads)
        self.reset()

    def _bind(self, derived: onnx.ModelProto, model: Model, threads: int):  # noqa: ANN202 - the session's own
        feeds = {
            model.description.inputs[0].name: self._features,
            plain.LABELS: self._labels,
            f"d {plain.LOSS}": np.ones((1, 1), np.float32),
            **self._arena.arrays,
        }
        results = {f"d {name}": array[..., None] for name, array in self._arena.gradients.items()}
        results[plain.LOSS] = self._loss
        program = Program(
            onnx=derived.SerializeToString(),
            inputs={name: array.shape for name, array in feeds.items()},
            outputs={name: array.shape for name, array in results.items()},
        )
        return Session(program, threads=threads).bind(feeds, results)

    def reset(self) -> None:
        """Go back to the weights of the file."""
        for name, array in self._start.items():
            self._arena.arrays[name][...] = array
        self._optimizer = self._make()

    def step(self, number: int) -> float:
        """Make a step."""
        rows = self._samples.rows(number)
        np.take(self._samples.features, rows, axis=0, out=self._features, mode="clip")
        np.take(self._samples.labels, rows, axis=0, out=self._labels, mode="clip")
        self._bound.run()
        self._optimizer.step(self._arena.weights, self._arena.gradient)
        return float(self._loss[0])


class Products:
    """The limit: the matrix products of a step and nothing else, in one onnxruntime session.

    A dense layer's forward product is x Wᵀ or (W xᵀ)ᵀ; what is the faster of the two here is taken.
    """

    def __init__(self, setting: Setting) -> None:
        model = setting.whole.make(setting.optimizer)
        found = products(model, setting.whole.shape, setting.batch)
        turned = [replace(each, a=each.b, b=each.a) if each.forward else each for each in found]
        self._tried = [_bound(each, setting.threads) for each in (found, turned)]
        multiplied = sum(each.a[0] * each.a[1] * each.b[not each.transposed_b] for each in found)
        self.variant = f"{2 * multiplied / 1e6:,.1f} MFLOP"

    def prepare(self) -> None:
        """Take the faster."""
        self._bound = min(self._tried, key=_seconds)

    def reset(self) -> None:
        """Nothing changes."""

    def run(self, steps: int) -> list[float]:
        """Multiply so many times."""
        for _ in range(steps):
            self._bound.run()
        return []

    def show(self) -> list[float]:
        """Return nothing: there is no loss."""
        return []


def _bound(found: list[plain.Product], threads: int) -> Bound:
    graph, feeds, results = plain.gemms_model(found)
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=shape).astype(np.float32) for name, shape in feeds.items()}
    wanted = {name: np.empty(shape, np.float32) for name, shape in results.items()}
    program = Program(onnx=graph, inputs=dict(feeds), outputs=dict(results))
    return Session(program, threads=threads).bind(given, wanted)


def _seconds(bound: Bound) -> float:
    """Return the quickest of some runs."""
    times = []
    for _ in range(TRIED):
        began = time.perf_counter()
        bound.run()
        times.append(time.perf_counter() - began)
    return min(times)


def weights_of(model: Model) -> dict[str, Array]:
    """Return the trained arrays, by `<layer>.weights` and `<layer>.biases`, in the network's order."""
    found = {}
    for layer in model.network.layers if model.network else ():
        if isinstance(layer.parameters, InnerProduct | Convolution) and layer.updatable:
            found[f"{layer.name}.weights"] = codec.array(
                layer.parameters.weights, weight_shape(layer.parameters)
            )
            if layer.parameters.bias is not None:
                found[f"{layer.name}.biases"] = codec.array(
                    layer.parameters.bias, (layer.parameters.output_channels,)
                )
    return found


def weight_shape(parameters: InnerProduct | Convolution) -> tuple[int, ...]:
    """Return the shape of a layer's weights."""
    if isinstance(parameters, InnerProduct):
        return (parameters.output_channels, parameters.input_channels)
    return (parameters.output_channels, parameters.kernel_channels, *parameters.kernel)


def products(model: Model, shape: tuple[int, ...], batch: int) -> list[plain.Product]:
    """Return the products of one step: forward, for the weights, and (but for the first layer) for what lies below.

    A convolution's are those with its columns, [C_in · k · k, positions · batch].
    """
    found: list[plain.Product] = []
    size = shape[1:]
    for layer in model.network.layers if model.network else ():
        if isinstance(layer.parameters, InnerProduct):
            found += _dense(layer.parameters, batch, first=not found)
        elif isinstance(layer.parameters, Convolution):
            size = tuple(map(lambda n, k: _left(layer, n, k), size, layer.parameters.kernel))
            found += _columns(layer.parameters, size[0] * size[1] * batch, first=not found)
        elif layer.type == "pooling":
            size = tuple(n // 2 for n in size)
    return found


def _left(layer: Layer, size: int, kernel: int) -> int:
    return size if layer.parameters.padding.mode == "same" else size - kernel + 1  # type: ignore[union-attr]


def _dense(p: InnerProduct, batch: int, *, first: bool) -> list[plain.Product]:
    x, w, y = (batch, p.input_channels), (p.output_channels, p.input_channels), (batch, p.output_channels)
    forward = plain.Product(a=x, b=w, transposed_b=True, forward=True)
    weights = plain.Product(a=y, b=x, transposed_a=True)
    return [forward, weights, *([] if first else [plain.Product(a=y, b=w)])]


def _columns(p: Convolution, width: int, *, first: bool) -> list[plain.Product]:
    inner = p.kernel_channels * p.kernel[0] * p.kernel[1]
    w, columns, y = (p.output_channels, inner), (inner, width), (p.output_channels, width)
    forward, weights = plain.Product(a=w, b=columns), plain.Product(a=y, b=columns, transposed_b=True)
    return [forward, weights, *([] if first else [plain.Product(a=w, b=y, transposed_a=True)])]
