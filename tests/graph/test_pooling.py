from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import networks as n
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference
from graph.chains import assert_finite_differences, assert_forward, assert_pytorch, chain

if TYPE_CHECKING:
    from graph.chains import Chain

IMAGE = (2, 7, 6)
BOTTOM_RIGHT, TOP_LEFT = "BOTTOM_RIGHT_HEAVY", "TOP_LEFT_HEAVY"

WINDOWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one pixel": {"kernel": (1, 1), "stride": (1, 1)},
    "overlapping": {"kernel": (3, 3), "stride": (1, 2)},
    "gaps between the windows": {"kernel": (2, 1), "stride": (3, 2)},
    "oblong": {"kernel": (1, 5), "stride": (2, 1)},
    "the whole image": {"kernel": (7, 6), "stride": (1, 1)},
    "borders": {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (0, 2))},
    "a border that no window reaches": {"kernel": (2, 2), "stride": (4, 4), "padding": ((0, 2), (1, 1))},
    "same, bottom right": {"kernel": (2, 3), "padding": BOTTOM_RIGHT},
    "same, top left": {"kernel": (2, 3), "padding": TOP_LEFT},
    "same, overlapping": {"kernel": (4, 4), "stride": (1, 3), "padding": TOP_LEFT},
    "same, strided": {"kernel": (3, 3), "stride": (2, 2), "padding": BOTTOM_RIGHT},
    "everywhere": {"everywhere": True},
    "last pixel": {"kernel": (2, 3), "stride": (2, 2), "last_pixel": (0, 0)},
    "last pixel, padded": {"kernel": (3, 3), "stride": (2, 2), "last_pixel": (1, 1)},
    "last pixel, less one": {"kernel": (2, 2), "stride": (3, 3), "last_pixel": (1, 0)},
    "last pixel, less one both ways": {"kernel": (2, 2), "stride": (2, 2), "last_pixel": (1, 1)},
    "last pixel, reaching out": {"kernel": (4, 5), "stride": (3, 4), "last_pixel": (1, 2)},
}
POOLS = {
    f"{kind} {name}": n.pooling(kind, **options)
    for kind in ("MAX", "AVERAGE", "L2")
    for name, options in WINDOWS.items()
} | {
    f"AVERAGE without padding, {name}": n.pooling("AVERAGE", exclude_padding=True, **WINDOWS[name])
    for name in (
        "borders",
        "same, bottom right",
        "same, top left",
        "same, overlapping",
        "everywhere",
        "last pixel",
        "last pixel, padded",
        "last pixel, less one",
        "last pixel, reaching out",
    )
}


@cache
def of(name: str) -> Chain:
    return chain([POOLS[name]], IMAGE)


@pytest.mark.parametrize("name", POOLS)
def test_a_pooling_computes_what_the_format_says_whether_it_runs_or_trains(name: str) -> None:
    assert_forward(of(name))


@pytest.mark.parametrize("name", POOLS)
def test_a_poolings_gradients_are_those_of_finite_differences(name: str) -> None:
    assert_finite_differences(of(name))


@pytest.mark.parametrize("name", POOLS)
def test_a_poolings_gradients_are_pytorchs(name: str) -> None:
    assert_pytorch(of(name))


# ── ties ────────────────────────────────────────────────────────────────────────────────────────
TIED = {
    **{f"MAX {name}": [n.pooling("MAX", **options)] for name, options in WINDOWS.items()},
    "after a ReLU": [n.activation("ReLU"), n.pooling("MAX")],
    "after a ReLU, overlapping": [n.activation("ReLU"), n.pooling("MAX", kernel=(3, 3), stride=(1, 2))],
    "after a convolution": [n.convolution(2, 2, padding=BOTTOM_RIGHT), n.pooling("MAX")],
    "after a convolution and a ReLU": [
        n.convolution(2, 2, padding=BOTTOM_RIGHT),
        n.activation("ReLU"),
        n.pooling("MAX"),
    ],
    "twice": [n.pooling("MAX", kernel=(3, 3), stride=(1, 1)), n.pooling("MAX", kernel=(2, 2), stride=(1, 2))],
}


@pytest.mark.parametrize("background", [0.0, -1.0, 3.0])
@pytest.mark.parametrize("name", TIED)
def test_of_equal_pixels_the_first_gets_the_gradient_as_in_pytorch(name: str, background: float) -> None:
    """Pictures with a constant background, and a few strokes of whole numbers."""
    rng = np.random.default_rng(1)
    x = np.full((4, *IMAGE), background, np.float32)
    strokes = rng.random(x.shape) < 0.4
    x[strokes] = rng.integers(-1, 3, strokes.sum())
    layers = [n.Layer() for _ in TIED[name]]
    for copy, layer in zip(layers, TIED[name], strict=True):
        copy.CopyFrom(layer)
        if copy.HasField("convolution"):  # sums of whole numbers are exact, so that equal ones stay equal
            n.fill(copy.convolution.weights, rng.integers(-1, 2, (2, 2, 3, 3)))
            n.fill(copy.convolution.bias, rng.integers(-1, 2, 2))
    assert_pytorch(chain(layers, IMAGE, x=x))


def test_where_all_of_a_window_is_zero_l2_lets_no_gradient_through_and_makes_no_nan() -> None:
    x = n.numbers(3, *IMAGE)
    x[0], x[1, :, :4] = 0, 0
    assert_pytorch(chain([n.pooling("L2")], IMAGE, x=x))
    assert_pytorch(chain([n.convolution(2, 2, bias=False), n.pooling("L2", everywhere=True)], IMAGE, x=x))


# ── what does not fit ───────────────────────────────────────────────────────────────────────────
REFUSED = {
    "a kernel larger than the image": ({"kernel": (9, 1)}, "does not fit"),
    "a window above the image": ({"padding": ((2, 0), (0, 0))}, "padding altogether"),
    "a window right of the image": ({"stride": (1, 4), "padding": ((0, 0), (0, 4))}, "padding altogether"),
    "windows beyond both corners": ({"stride": (9, 9), "padding": ((0, 9), (0, 9))}, "padding altogether"),
    "a last pixel that the window before has": (
        {"stride": (7, 1), "last_pixel": (0, 0)},
        "padding altogether",
    ),
}


@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "L2"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_window_with_nothing_of_the_image_in_it_is_refused_with_the_layers_name(
    name: str, kind: str
) -> None:
    options, words = REFUSED[name]
    layer = n.pooling(kind, **options)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=rf"'l0'.*{words}"):
        compile_inference(n.decoded(n.network([layer], IMAGE)))
