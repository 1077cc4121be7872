from __future__ import annotations

import numpy as np
import pytest

import kinds as k
import networks as n
import reference
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference
from graph.chains import (
    OUTPUT,
    assert_finite_differences,
    assert_forward,
    assert_pytorch,
    chain,
    ran,
    trained,
)

IMAGE, VECTOR = (3, 4, 5), (6,)
PIXELS = n.convolution(3, 3, kernel=(1, 1))  # puts the batch last where it trains

CURVES = {
    "leakyReLU": n.activation("leakyReLU", alpha=0.3),
    "ELU": n.activation("ELU", alpha=0.7),
    "PReLU": k.slopes("PReLU", 3),
    "PReLU, one slope for all": k.slopes("PReLU", 1),
    "softplus": n.activation("softplus"),
    "clip": n.clip(-0.5, 0.75),
}
COMPOSED = {
    "linear": n.activation("linear", alpha=2.0, beta=-0.5),
    "linear without an offset": n.activation("linear", alpha=1.0),
    "scaledTanh": n.activation("scaledTanh", alpha=1.7, beta=0.6),
    "parametricSoftplus": k.slopes("parametricSoftplus", 3),
    "add a number": n.add(alpha=1.5),
    "multiply by a number": k.merge("multiply", alpha=-1.5),
    "softmax over channels": n.softmax(),
}
BELOW = {
    "of an image": (IMAGE, [PIXELS]),
    "of an input": (IMAGE, []),
    "of a vector": (VECTOR, [n.dense(3, 6)]),
}


@pytest.mark.parametrize("below", BELOW)
@pytest.mark.parametrize("name", CURVES | COMPOSED)
def test_a_curve_is_what_the_format_says_and_has_its_slope(name: str, below: str) -> None:
    shape, layers = BELOW[below]
    # A softmax at the very end would be taken for that of cross entropy.
    chosen = chain([*layers, (CURVES | COMPOSED)[name], n.add(alpha=0.25)], shape)
    assert_forward(chosen)
    assert_finite_differences(chosen)
    if name in CURVES:
        assert_pytorch(chain([*layers, CURVES[name]], shape))


KINKS = {
    "leakyReLU": (n.activation("leakyReLU", alpha=0.25), [0.25, 0.25, 1]),
    "PReLU": (k.slopes("PReLU", 3), [*n.numbers(3)[:2], 1]),
    "ELU": (n.activation("ELU", alpha=0.5), [0.5 * np.exp(-1), 0.5, 1]),
    "clip below": (n.clip(-1, 0), [1, 1, 0]),
    "clip above": (n.clip(0, 1), [0, 1, 1]),
}


@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_the_slope_is_pytorchs(name: str) -> None:
    layer, wanted = KINKS[name]
    chosen = chain([layer], (3,), x=np.array([[-1, 0, 1]], np.float32))
    found = trained(chosen)
    arriving = 2 * (found[OUTPUT] - chosen.target) / 3 * chosen.weights
    np.testing.assert_allclose(found[n.INPUT] / arriving, [wanted], rtol=1e-5, atol=1e-9)
    assert_pytorch(chosen)


# ── several blobs ───────────────────────────────────────────────────────────────────────────────
MERGES = {
    "a residual": (IMAGE, [PIXELS, n.activation("tanh"), n.add("l0", "l1")]),
    "a sum with the input, thrice": (IMAGE, [PIXELS, n.add("l0", n.INPUT, "l0")]),
    "a product": (IMAGE, [PIXELS, n.activation("tanh"), k.merge("multiply", "l0", "l1", n.INPUT)]),
    "a product with itself": (VECTOR, [n.dense(4, 6), k.merge("multiply", "l0", "l0")]),
    "a gate for each channel": (
        IMAGE,
        [
            PIXELS,
            n.pooling("AVERAGE", everywhere=True),
            n.dense(3, 3),
            n.activation("sigmoid"),
            k.merge("multiply", "l0", "l3"),
        ],
    ),
    "a gate of one channel": (
        IMAGE,
        [n.convolution(1, 3, kernel=(1, 1)), k.merge("multiply", n.INPUT, "l0"), n.add("l1", "l0")],
    ),
    "broadcastable": (
        IMAGE,
        [
            PIXELS,
            n.pooling("MAX", everywhere=True),
            k.merge("multiplyBroadcastable", "l0", "l1"),
            k.merge("addBroadcastable", "l2", "l0"),
        ],
    ),
}


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_gives_each_of_its_blobs_its_own_gradient(name: str) -> None:
    shape, layers = MERGES[name]
    chosen = chain(layers, shape)
    assert_forward(chosen)
    assert_finite_differences(chosen)


def cropped(like: str) -> n.Layer:
    """Return a crop of the input to the size of another blob, two columns from its left edge."""
    layer = n.Layer(input=[n.INPUT, like])
    layer.crop.offset[:] = (0, 2)
    return layer


FORWARD = {
    **{
        f"unary {kind}": [n.activation("sigmoid"), k.unary(kind, **fields)]
        for kind, fields in {
            "SQRT": {},
            "RSQRT": {"shift": 0.5},
            "INVERSE": {"epsilon": 0.25},
            "POWER": {"alpha": 1.5, "scale": 2.0, "shift": 1.0},
            "EXP": {"scale": -1.0},
            "LOG": {},
            "ABS": {"shift": -0.5},
            "THRESHOLD": {"alpha": 0.5},
        }.items()
    },
    **{f"{kind} of blobs": [PIXELS, k.merge(kind, n.INPUT, "l0")] for kind in ("average", "max", "min")},
    **{
        f"{mode} over {axis}": [PIXELS, k.reduce(mode, axis)]
        for mode, axis in (
            ("SUM", "CHW"),
            ("AVG", "HW"),
            ("SUMSQUARE", "C"),
            ("L1", "H"),
            ("L2", "W"),
            ("MAX", "HW"),
            ("MIN", "C"),
        )
    },
    "l2normalize": [k.merge("l2normalize")],
    "lrn": [k.merge("lrn", alpha=0.5, beta=0.75, localSize=3)],
    "lrn of a window beyond the channels": [k.merge("lrn", alpha=2.0, beta=0.5, localSize=99, k=2.0)],
    "crop": [k.crop((1, 0), (0, 2))],
    "crop to the size of another": [k.cut("WIDTH", 0, 2), cropped("l0")],
    "slice of a vector": [n.flatten(), k.cut("CHANNEL", 7, -3, 5)],
    "slice": [k.cut("HEIGHT", -3, -1), k.cut("WIDTH", 1, 5, 2), k.cut("CHANNEL", 1, 100)],
}


@pytest.mark.parametrize("name", FORWARD)
def test_what_only_runs_forward_is_what_the_format_says(name: str) -> None:
    chosen = chain(FORWARD[name], IMAGE)
    wanted = reference.forward(chosen.layers, {n.INPUT: chosen.x})[chosen.layers[-1].output[0]]
    found = ran(chosen)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=5e-6, atol=5e-6)


# ── borders ─────────────────────────────────────────────────────────────────────────────────────
BORDERS = {
    "noughts": k.padding("constant", (1, 0), (2, 3)),
    "a constant": k.padding("constant", (1, 2), (0, 1), value=1.5),
    "no border": k.padding("constant", (0, 0), (0, 0)),
    "reflection": k.padding("reflection", (2, 1), (0, 4)),
    "replication": k.padding("replication", (3, 0), (1, 2)),
    "upsampling": k.upsample(2, 3),
}


@pytest.mark.parametrize("name", BORDERS)
@pytest.mark.parametrize("below", [[PIXELS], []], ids=["of an image", "of an input"])
def test_borders_and_upsampling_are_what_the_format_says_and_pytorch_has_their_gradients(
    name: str, below: list[n.Layer]
) -> None:
    chosen = chain([*below, BORDERS[name]], IMAGE)
    assert_forward(chosen)
    assert_finite_differences(chosen)
    assert_pytorch(chosen)


# ── what does not fit ───────────────────────────────────────────────────────────────────────────
REFUSED = {
    "slopes for other channels": ([k.slopes("PReLU", 2)], "2 numbers where the layer needs 3"),
    "slopes of a sequence": ([k.permute(2, 1, 0, 3), k.slopes("PReLU", 3)], "no numbers for the channels of"),
    "a reflection beyond the image": ([k.padding("reflection", (4, 0), (0, 0))], "4 pixels far"),
    "a border beyond any bounds": ([k.padding("constant", (1 << 30, 0), (1 << 30, 0))], "are allowed"),
    "bilinear upsampling": ([k.merge("upsample", mode=1)], "nearest pixel"),
    "a crop of everything": ([k.crop((2, 2), (0, 0))], "does not lie in"),
    "a slice from far before the beginning": ([k.cut("WIDTH", -(1 << 63), 9)], "does not lie in"),
    "a slice from behind the end": ([k.cut("WIDTH", 7, 9)], "does not lie in"),
    "a reduction that is not there": ([k.reduce("PROD", "C")], "finetuned runs SUM"),
    "an even window of channels": ([k.merge("lrn", localSize=2)], "an odd number"),
    "a window of channels without a weight": ([k.merge("lrn", localSize=3)], "positive numbers are needed"),
    "a broadcast of fewer axes": (
        [n.flatten(), n.dense(5, 60), k.merge("addBroadcastable", n.INPUT, "l1")],
        "as many axes",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_with_the_layers_name(name: str) -> None:
    layers, words = REFUSED[name]
    with pytest.raises(ModelError, match=words) as refused:
        compile_inference(n.decoded(n.network(layers, IMAGE)))
    assert "layer 'l" in str(refused.value)
