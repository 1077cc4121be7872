"""Sizes that no machine has: refused by the layer's name, before anything is laid out for them."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import networks as n
from finetuned.errors import ModelError
from finetuned.graph import ir, tables
from finetuned.graph.grad import gradients
from finetuned.graph.values import BATCH
from graph.chains import lowered

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL, WIDE = (1, 8, 8), (1, 1 << 15, 1 << 14)
HUGE, WHOLE = 1 << 30, (1 << 31) - 1
SAME = "BOTTOM_RIGHT_HEAVY"
MOST_MEMORY = 32 << 20


def claiming(layer: n.Layer, **fields: Any) -> n.Layer:  # noqa: ANN401 - the format's fields
    """Return a layer that says more of itself than its weights hold."""
    params = getattr(layer, layer.WhichOneof("layer") or "")
    for name, value in fields.items():
        if isinstance(value, tuple):
            getattr(params, name)[:] = value
        else:
            setattr(params, name, value)
    return layer


# Layer, image, and whether it is too much also where it only runs: onnxruntime's own windows need no table.
ABSURD: dict[str, tuple[n.Layer, tuple[int, ...], bool]] = {
    "padding": (n.convolution(1, 1, kernel=(1, 1), padding=((HUGE, 0), (HUGE, 0))), SMALL, True),
    "padding on one side": (n.convolution(1, 1, kernel=(1, 1), padding=((HUGE, 0), (0, 0))), SMALL, True),
    "kernel": (claiming(n.convolution(1, 1, padding=SAME), kernelSize=(1 << 20, 1 << 20)), SMALL, True),
    "a long kernel": (claiming(n.convolution(1, 1, padding=SAME), kernelSize=(HUGE, 1)), SMALL, True),
    "channels": (claiming(n.convolution(1, 1, kernel=(1, 1)), outputChannels=HUGE), SMALL, True),
    "groups": (claiming(n.convolution(1, 1), nGroups=HUGE), SMALL, True),
    "image": (n.convolution(1, 1, padding=SAME), WIDE, True),
    "the largest image that a file can claim": (n.convolution(1, 1, padding=SAME), (1, WHOLE, WHOLE), True),
    "a large image": (n.convolution(1, 1, kernel=(5, 5), padding=SAME), (1, 1 << 12, 1 << 12), False),
    "steps of a deconvolution": (n.deconvolution(1, 1, stride=(1 << 20, 1 << 20)), SMALL, True),
    "outputShape": (n.deconvolution(1, 1, stride=(1 << 12, 1 << 12), size=(1 << 15, 1 << 15)), SMALL, True),
    "greatest": (n.pooling("MAX", kernel=(HUGE, HUGE), stride=(1, 1), padding=SAME), (1, 64, 64), False),
    "mean": (n.pooling("AVERAGE", kernel=(HUGE, HUGE), stride=(1, 1), padding=SAME), SMALL, False),
    "last pixel": (
        n.pooling("L2", kernel=(HUGE, HUGE), stride=(1, 1), last_pixel=(HUGE - 1, HUGE - 1)),
        SMALL,
        True,
    ),
    "a mean over all of a large image": (n.pooling("AVERAGE", everywhere=True), (1, 1 << 13, 1 << 13), False),
    "an inner product": (claiming(n.dense(1, 64), outputChannels=HUGE), SMALL, True),
}


@pytest.fixture(autouse=True)
def nothing_large_is_laid_out() -> Iterator[None]:
    tracemalloc.start()
    yield
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < MOST_MEMORY


@pytest.mark.parametrize("name", [name for name, (_, _, runs) in ABSURD.items() if runs])
def test_what_no_machine_can_run_is_refused_by_the_layers_name(name: str) -> None:
    layer, shape, _ = ABSURD[name]
    with pytest.raises(ModelError, match="'l0'"):
        lowered(n.network([layer], shape), trains=False)


@pytest.mark.parametrize("name", ABSURD)
def test_what_no_machine_can_train_is_refused_by_the_layers_name(name: str) -> None:
    layer, shape, _ = ABSURD[name]
    with pytest.raises(ModelError, match="'l0'"):
        differentiated(n.network([layer], shape))


def test_a_pixel_that_too_many_windows_see_is_refused_where_its_gradient_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The corner stands for all of the padding of its windows."""
    monkeypatch.setattr(tables, "LARGEST", 6**3)
    pooling = n.pooling("MAX", kernel=(6, 6), stride=(1, 1), padding=SAME)
    lowered(n.network([pooling], (1, 6, 6)), trains=True)
    with pytest.raises(ModelError, match="'l0': its gradient"):
        differentiated(n.network([pooling], (1, 6, 6)))


def test_tables_that_are_too_many_together_are_refused_at_the_layer_that_is_one_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ir, "MOST_PLACES", 3 * 9 * 64)
    layers = [n.convolution(1, 1, padding=SAME, seed=seed) for seed in range(4)]
    with pytest.raises(
        ModelError, match=r"layer 'l3': up to here windows look at 2304 places.*smaller input, or freeze"
    ):
        lowered(n.network(layers, SMALL), trains=True)


def differentiated(message: Any) -> None:  # noqa: ANN401 - a model
    context, x = lowered(message, trains=True)
    output = context.blobs["l0"]
    each = context.graph.add("SquaredError", output, context.graph.input("target", output.shape))
    gradients(context.graph, each, context.graph.input("weights", (BATCH,)), [x, *context.fed.values()])
