"""PyTorch and ExecuTorch in the duels: the same network, weights, samples and order, written as their users write it."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from engine_contenders import Trainer, weight_shape
from engine_models import Setting, parameters_of, samples_of
from torch import nn

from finetuned.spec import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from finetuned.spec.model import Convolution, InnerProduct, Layer, Model, Pooling

TRIAL_S, TRIALS = 0.1, 3
WARM_UP = 3


# ── the network ─────────────────────────────────────────────────────────────────────────────────
def module_of(model: Model) -> nn.Sequential:
    """Return the chain up to the logits."""
    assert model.network is not None  # noqa: S101 - every task has one
    return nn.Sequential(
        *(module for layer in model.network.layers[:-1] for module in RULES[layer.type](layer))
    )


def _dense(layer: Layer) -> Iterator[nn.Module]:
    p: InnerProduct = layer.parameters  # type: ignore[assignment]
    yield _loaded(nn.Linear(p.input_channels, p.output_channels, bias=p.bias is not None), p)


def _convolution(layer: Layer) -> Iterator[nn.Module]:
    p: Convolution = layer.parameters  # type: ignore[assignment]
    padding = "same" if p.padding.mode == "same" else 0
    yield _loaded(nn.Conv2d(p.kernel_channels, p.output_channels, p.kernel, padding=padding), p)


def _loaded(module: Any, p: InnerProduct | Convolution) -> nn.Module:  # noqa: ANN401 - torch's, untyped here
    with torch.no_grad():
        module.weight.copy_(torch.tensor(codec.array(p.weights, weight_shape(p))))
        if p.bias is not None:
            module.bias.copy_(torch.tensor(codec.array(p.bias, (p.output_channels,))))
    return module


def _pooling(layer: Layer) -> Iterator[nn.Module]:
    p: Pooling = layer.parameters  # type: ignore[assignment]
    yield nn.AdaptiveAvgPool2d(1) if p.global_pooling else nn.MaxPool2d(p.kernel, p.stride)


class ChannelLast(nn.Module):
    """[N, C, H, W] → [N, H, W, C], which a flatten of Core ML's may ask for."""

    def forward(self, x: Any) -> Any:  # noqa: ANN401 - torch's
        """Move the channels to the end."""
        return x.permute(0, 2, 3, 1)


def _flatten(layer: Layer) -> Iterator[nn.Module]:
    if layer.parameters.channel_last:  # type: ignore[union-attr]
        yield ChannelLast()
    yield nn.Flatten()


RULES: dict[str, Callable[[Layer], Iterator[nn.Module]]] = {
    "activation": lambda _: iter([nn.ReLU()]),
    "convolution": _convolution,
    "flatten": _flatten,
    "innerProduct": _dense,
    "pooling": _pooling,
}


# ── PyTorch ─────────────────────────────────────────────────────────────────────────────────────
class Variant(Trainer):
    """One way of training in PyTorch; `make_step` takes module, loss and optimizer and returns the step."""

    def __init__(self, setting: Setting, name: str, *, compiled: bool, last: bool, **options: bool) -> None:
        self.variant, self.fastest = name, inf
        self._samples = samples = samples_of(setting)
        self._module = module_of(setting.whole.make(setting.optimizer))
        self._form = torch.channels_last if last else torch.contiguous_format
        self._module.to(memory_format=self._form)
        self._start = [parameter.detach().clone() for parameter in self._module.parameters()]
        self._features, self._labels = torch.from_numpy(samples.features), torch.from_numpy(samples.labels)
        if last:
            self._features = self._features.to(memory_format=torch.channels_last)
        self._optimizer = _optimizer(self._module, setting, options)
        loss, module = nn.CrossEntropyLoss(), self._module

        def forward(x: Any, y: Any) -> Any:  # noqa: ANN401 - torch's
            return loss(module(x), y)

        self._forward = torch.compile(forward) if compiled else forward

    def reset(self) -> None:
        """Go back to the weights of the file."""
        with torch.no_grad():
            for parameter, start in zip(self._module.parameters(), self._start, strict=True):
                parameter.copy_(start)
            for state in self._optimizer.state.values():
                for tensor in state.values():
                    if tensor is not None:
                        tensor.zero_()

    def step(self, number: int) -> float:
        """Make a step, as a training loop does; its loss is read."""
        rows = torch.from_numpy(self._samples.rows(number))
        x, y = self._features.index_select(0, rows), self._labels.index_select(0, rows)
        self._optimizer.zero_grad(set_to_none=True)
        value = self._forward(x, y)
        value.backward()
        self._optimizer.step()
        return float(value.item())


def _optimizer(module: nn.Module, setting: Setting, options: dict[str, bool]) -> Any:  # noqa: ANN401 - torch's
    p = parameters_of(setting)
    if setting.optimizer == "adamOptimizer":
        betas = (p["beta1"], p["beta2"])
        return torch.optim.Adam(
            module.parameters(), lr=p["learningRate"], betas=betas, eps=p["eps"], **options
        )
    return torch.optim.SGD(module.parameters(), lr=p["learningRate"], momentum=p["momentum"], **options)


AS_IT_COMES = "as it comes"
VARIANTS: dict[str, dict[str, bool]] = {
    AS_IT_COMES: {"compiled": False, "last": False},
    "foreach": {"compiled": False, "last": False, "foreach": True},
    "fused": {"compiled": False, "last": False, "fused": True},
    "channels_last, fused": {"compiled": False, "last": True, "fused": True},
    "compiled, fused": {"compiled": True, "last": False, "fused": True},
    "compiled, channels_last, fused": {"compiled": True, "last": True, "fused": True},
}
"""Of the optimizer (`foreach`, `fused`), the memory format, and `torch.compile` over network and loss, forward and backward."""


class Fastest(Trainer):
    """The fastest of these variants, found by trials of each in turns before the duel."""

    def __init__(self, setting: Setting, variants: dict[str, dict[str, bool]]) -> None:
        torch.set_num_threads(setting.threads)
        flat = len(setting.whole.shape) == 1
        made = [
            _made(setting, name, options)
            for name, options in variants.items()
            if not (flat and options["last"])
        ]
        self._there = [variant for variant in made if variant is not None]

    def prepare(self) -> None:
        """Try them, and keep the fastest."""
        for _ in range(TRIALS if len(self._there) > 1 else 0):
            for variant in self._there:
                variant.fastest = min(variant.fastest, _trial(variant))
        best = min(self._there, key=lambda variant: variant.fastest)
        self.variant, self.reset, self.run = best.variant, best.reset, best.run  # type: ignore[method-assign]
        self._there = [best]


def _made(setting: Setting, name: str, options: dict[str, bool]) -> Variant | None:
    """Return None where this machine cannot do it (no compiler, for one)."""
    try:
        variant = Variant(setting, name, **options)
        variant.run(WARM_UP)
    except Exception as error:  # noqa: BLE001 - inductor raises whatever its parts do
        print(f"# {name}: {type(error).__name__}", flush=True)
        return None
    return variant


def _trial(variant: Variant) -> float:
    """Return its seconds a step."""
    began, steps = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < TRIAL_S:
        variant.run(1)
        steps += 1
    return spent / steps


def eager(setting: Setting) -> Fastest:
    """Return PyTorch as it comes."""
    return Fastest(setting, {AS_IT_COMES: VARIANTS[AS_IT_COMES]})


def best(setting: Setting) -> Fastest:
    """Return PyTorch's fastest variant."""
    return Fastest(setting, VARIANTS)


# ── ExecuTorch ──────────────────────────────────────────────────────────────────────────────────
class WithLoss(nn.Module):
    """A network and its loss, as ExecuTorch wants them for training."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.loss = net, nn.CrossEntropyLoss()

    def forward(self, x: Any, y: Any) -> Any:  # noqa: ANN401 - torch's
        """Return the mean loss."""
        return self.loss(self.net(x), y)


class ExecuTorch(Trainer):
    """ExecuTorch's training module: the joint graph exported, run by its portable kernels, and its own SGD."""

    variant = "portable kernels, its own SGD"

    def __init__(self, setting: Setting) -> None:
        from executorch.exir import to_edge  # noqa: PLC0415 - the extra `bench`
        from executorch.extension.training import (  # noqa: PLC0415
            _load_for_executorch_for_training_from_buffer as load,
        )
        from executorch.extension.training import get_sgd_optimizer  # noqa: PLC0415
        from torch.export.experimental import _export_forward_backward  # noqa: PLC0415

        torch.set_num_threads(setting.threads)
        if setting.optimizer != "sgdOptimizer":
            raise ValueError("ExecuTorch's training module has no other optimizer than SGD")
        self._samples = samples = samples_of(setting)
        self._features, self._labels = torch.from_numpy(samples.features), torch.from_numpy(samples.labels)
        network = WithLoss(module_of(setting.whole.make(setting.optimizer)))
        exported = torch.export.export(network, self._batch(0), strict=True)
        program = to_edge(_export_forward_backward(exported)).to_executorch()
        p = parameters_of(setting)
        self._load = lambda: load(program.buffer)
        self._optimize = lambda named: get_sgd_optimizer(named, p["learningRate"], p["momentum"])
        self.reset()

    def _batch(self, step: int) -> tuple[Any, Any]:
        rows = torch.from_numpy(self._samples.rows(step))
        return self._features.index_select(0, rows), self._labels.index_select(0, rows)

    def reset(self) -> None:
        """Load the program again; it knows its parameters after the first run only."""
        self._module = self._load()
        self._module.forward_backward("forward", self._batch(0))
        self._optimizer = self._optimize(self._module.named_parameters())

    def step(self, number: int) -> float:
        """Make a step."""
        (loss,) = self._module.forward_backward("forward", self._batch(number))
        self._optimizer.step(self._module.named_gradients())
        return float(loss)
