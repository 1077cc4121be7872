from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

import networks as n
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference
from finetuned.update.session import Session
from graph.chains import assert_finite_differences, assert_forward, assert_pytorch, chain, lowered

if TYPE_CHECKING:
    from graph.chains import Chain

IMAGE = (4, 7, 6)
BOTTOM_RIGHT, TOP_LEFT = "BOTTOM_RIGHT_HEAVY", "TOP_LEFT_HEAVY"

CONVOLUTIONS = {
    "plain": n.convolution(3, 4),
    "without bias": n.convolution(3, 4, bias=False),
    "1 x 1": n.convolution(5, 4, kernel=(1, 1)),
    "1 x 1, strided": n.convolution(5, 4, kernel=(1, 1), stride=(2, 3)),
    "1 x 1, padded": n.convolution(2, 4, kernel=(1, 1), padding=((1, 0), (0, 2))),
    "1 x 5": n.convolution(3, 4, kernel=(1, 5)),
    "7 x 1, same": n.convolution(3, 4, kernel=(7, 1), padding=BOTTOM_RIGHT),
    "5 x 5": n.convolution(3, 4, kernel=(5, 5), padding=((2, 2), (2, 2))),
    "2 x 4": n.convolution(3, 4, kernel=(2, 4)),
    "the whole image": n.convolution(2, 4, kernel=(7, 6)),
    "stride 2": n.convolution(3, 4, stride=(2, 2)),
    "stride 3": n.convolution(3, 4, stride=(3, 3)),
    "stride 1 and 3": n.convolution(3, 4, stride=(1, 3)),
    "stride beyond the kernel": n.convolution(3, 4, kernel=(2, 1), stride=(3, 4)),
    "dilation 2": n.convolution(2, 4, dilation=(2, 2)),
    "dilation 3 and 1": n.convolution(2, 4, dilation=(3, 1)),
    "dilation and stride": n.convolution(2, 4, dilation=(1, 2), stride=(2, 2), padding=((1, 1), (2, 2))),
    "two groups": n.convolution(6, 4, groups=2),
    "two groups without bias": n.convolution(2, 4, groups=2, bias=False, stride=(2, 1)),
    "depthwise": n.convolution(4, 4, groups=4, padding=BOTTOM_RIGHT),
    "depthwise, three of each": n.convolution(12, 4, groups=4, stride=(2, 2)),
    "depthwise 1 x 1": n.convolution(8, 4, groups=4, kernel=(1, 1)),
    "borders": n.convolution(2, 4, padding=((1, 0), (2, 3))),
    "borders beyond the kernel": n.convolution(2, 4, kernel=(2, 2), padding=((3, 0), (0, 4))),
    "borders that no window reaches": n.convolution(2, 4, stride=(4, 4), padding=((0, 3), (1, 3))),
    "a kernel larger than the image": n.convolution(2, 4, kernel=(9, 3), padding=((2, 1), (0, 0))),
    "a kernel larger than the image, same": n.convolution(2, 4, kernel=(9, 8), padding=TOP_LEFT),
    **{
        f"same {mode} kernel {kernel} stride {stride} dilation {dilation}": n.convolution(
            2, 4, kernel=kernel, stride=stride, dilation=dilation, padding=mode
        )
        for mode in (BOTTOM_RIGHT, TOP_LEFT)
        for kernel, stride, dilation in (
            ((3, 3), (1, 1), (1, 1)),
            ((3, 3), (2, 2), (1, 1)),
            ((2, 4), (1, 1), (1, 1)),
            ((2, 3), (3, 2), (1, 1)),
            ((1, 1), (3, 3), (1, 1)),
            ((3, 3), (1, 2), (2, 2)),
        )
    },
}

DECONVOLUTIONS = {
    "plain": n.deconvolution(3, 4),
    "without bias": n.deconvolution(3, 4, bias=False),
    "1 x 1": n.deconvolution(3, 4, kernel=(1, 1)),
    "stride 2": n.deconvolution(3, 4, stride=(2, 2)),
    "stride 2, kernel 2": n.deconvolution(3, 4, kernel=(2, 2), stride=(2, 2)),
    "stride 3 and 2, kernel 4 and 5": n.deconvolution(2, 4, kernel=(4, 5), stride=(3, 2)),
    "stride beyond the kernel": n.deconvolution(3, 4, kernel=(2, 1), stride=(3, 2)),
    "borders": n.deconvolution(2, 4, stride=(2, 2), padding=((1, 0), (0, 2))),
    "borders beyond the kernel": n.deconvolution(2, 4, kernel=(2, 2), padding=((3, 0), (0, 3))),
    "dilated": n.deconvolution(2, 4, dilation=(2, 3)),
    "dilated, stride 2, same": n.deconvolution(2, 4, dilation=(2, 1), stride=(2, 2), padding=BOTTOM_RIGHT),
    "two groups": n.deconvolution(6, 4, groups=2, stride=(2, 1)),
    "depthwise": n.deconvolution(4, 4, groups=4, kernel=(4, 4), stride=(2, 2), padding=((1, 1), (1, 1))),
    "depthwise, two of each": n.deconvolution(8, 4, groups=4, bias=False),
    "same, bottom right": n.deconvolution(2, 4, kernel=(4, 3), stride=(1, 2), padding=BOTTOM_RIGHT),
    "same, top left": n.deconvolution(2, 4, kernel=(4, 3), stride=(1, 2), padding=TOP_LEFT),
    "same, odd to cut off": n.deconvolution(2, 4, kernel=(5, 4), stride=(2, 1), padding=TOP_LEFT),
    "same, stride beyond the kernel": n.deconvolution(
        2, 4, kernel=(2, 1), stride=(3, 3), padding=BOTTOM_RIGHT
    ),
    "outputShape of the whole": n.deconvolution(2, 4, stride=(2, 2), size=(15, 13)),
    "outputShape, odd": n.deconvolution(2, 4, stride=(2, 2), size=(13, 12)),
    "outputShape, more than the whole": n.deconvolution(2, 4, stride=(3, 2), size=(23, 14)),
    "outputShape, whatever the padding": n.deconvolution(
        2, 4, stride=(2, 2), size=(14, 12), padding=((1, 1), (2, 2))
    ),
    "outputShape, whatever the same": n.deconvolution(2, 4, stride=(2, 2), size=(14, 12), padding=TOP_LEFT),
}

LAYERS = {f"convolution, {name}": layer for name, layer in CONVOLUTIONS.items()} | {
    f"deconvolution, {name}": layer for name, layer in DECONVOLUTIONS.items()
}


@cache
def of(name: str) -> Chain:
    return chain([LAYERS[name]], IMAGE)


@pytest.mark.parametrize("name", LAYERS)
def test_a_convolution_computes_what_the_format_says_whether_it_runs_or_trains(name: str) -> None:
    assert_forward(of(name))


@pytest.mark.parametrize("name", LAYERS)
def test_a_convolutions_gradients_are_those_of_finite_differences(name: str) -> None:
    assert_finite_differences(of(name))


@pytest.mark.parametrize("name", LAYERS)
def test_a_convolutions_gradients_are_pytorchs(name: str) -> None:
    assert_pytorch(of(name))


def quantised(layer: n.Layer, shape: tuple[int, ...], axis: int) -> tuple[n.Layer, n.Layer]:
    """Return the layer with codes of eight bits, scaled along an axis, and with the numbers that they stand for."""
    codes = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    along = [1] * len(shape)
    along[axis] = -1
    scale, bias = n.numbers(shape[axis], seed=1), n.numbers(shape[axis], seed=2)
    plain = n.Layer.FromString(layer.SerializeToString())
    n.fill(plain.convolution.weights, codes * scale.reshape(along) + bias.reshape(along))
    weights = layer.convolution.weights
    weights.Clear()
    weights.rawValue, weights.quantization.numberOfBits = codes.tobytes(), 8
    weights.quantization.linearQuantization.scale = scale.tobytes()
    weights.quantization.linearQuantization.bias = bias.tobytes()
    return layer, plain


@pytest.mark.parametrize("deconvolution", [False, True])
def test_quantised_weights_are_scaled_by_output_channel(*, deconvolution: bool) -> None:
    if deconvolution:
        coded, plain = quantised(n.deconvolution(3, 4, kernel=(2, 2)), (4, 3, 2, 2), axis=1)
    else:
        coded, plain = quantised(n.convolution(3, 4, kernel=(2, 2)), (3, 4, 2, 2), axis=0)
    x = n.numbers(2, *IMAGE)
    found, wanted = (
        Session(compile_inference(n.decoded(n.network([layer], IMAGE)))).run({n.INPUT: x})["l0"]
        for layer in (coded, plain)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


# ── what does not fit ───────────────────────────────────────────────────────────────────────────
REFUSED = {
    "a kernel larger than the padded image": (
        n.convolution(2, 4, kernel=(10, 1), padding=((1, 1), (0, 0))),
        "does not fit",
    ),
    "a dilated kernel larger than the image": (n.convolution(2, 4, dilation=(1, 3)), "does not fit"),
    "other channels": (n.convolution(2, 5), "4 channels arrive, 5 are expected"),
    "outputs that the groups cannot share": (n.convolution(3, 4, groups=2), "groups"),
    "outputs that a deconvolution's groups cannot share": (n.deconvolution(3, 4, groups=2), "groups"),
    "a deconvolution with other channels": (n.deconvolution(2, 5), "4 channels arrive, 5 are expected"),
    "a deconvolution that cuts everything off": (
        n.deconvolution(2, 4, padding=((5, 4), (0, 0))),
        "an output of 0 cannot be made from 7: 1 to 9 can",
    ),
    "an outputShape beyond any window": (
        n.deconvolution(2, 4, stride=(2, 2), size=(17, 12)),
        "an output of 17 cannot be made from 7: 1 to 16 can",
    ),
}


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_a_convolution_that_does_not_fit_is_refused_with_its_name(name: str, *, trains: bool) -> None:
    layer, words = REFUSED[name]
    message = n.network([layer], IMAGE)
    with pytest.raises(ModelError, match=f"'l0'.*{words}"):
        lowered(message, trains=trains)
