"""What `check` says of convolutions, deconvolutions and poolings, a row a rule; PyTorch knows what size comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import networks as n
from finetuned.errors import ModelError
from finetuned.graph.program import compile_inference
from finetuned.spec import check
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.model import Convolution, Pooling
from finetuned.spec.rules import areas, extents
from finetuned.spec.rules.case import case
from shared import oracle
from spec.row import Row, assign, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec.model import Model

INPUT = [2, 6, 8]


def model(*layers: n.Layer, numbers: int) -> pb.Model:
    """Return a network of these layers on [2, 6, 8], then dense and softmax; all is trained."""
    head = [n.flatten(), n.dense(3, numbers, updatable=True), n.softmax()]
    return n.trainable([*layers, *head], INPUT)


def convolved() -> pb.Model:
    layer = n.convolution(4, 2, groups=2, padding=((0, 0), (1, 1)), updatable=True)
    return model(layer, n.pooling("MAX"), numbers=4 * 2 * 4)


def spread(size: n.Pair | None = (12, 15)) -> pb.Model:
    layer = n.deconvolution(4, 2, size=size, stride=(2, 2), padding="BOTTOM_RIGHT_HEAVY", updatable=True)
    numbers = 4 * (size[0] * size[1] if size else 12 * 16)
    return model(layer, numbers=numbers)


def first(message: pb.Model) -> pb.ConvolutionLayerParams:
    return message.neuralNetwork.layers[0].convolution


def pool(message: pb.Model) -> pb.PoolingLayerParams:
    return message.neuralNetwork.layers[1].pooling


def pad_anew(params: pb.PoolingLayerParams, amounts: tuple[n.Pair, n.Pair]) -> None:
    params.ClearField("PoolingPaddingType")
    n.pad(params, amounts)


def regroup(message: pb.Model) -> None:
    """Ask for more groups than there are channels to share, with weights for them."""
    first(message).nGroups = 4
    n.fill(first(message).weights, n.numbers(2, 1, 3, 3), updatable=True)


def take_three(message: pb.Model) -> None:
    """Take three channels where two come in, with weights for them."""
    first(message).kernelChannels = 3
    n.fill(first(message).weights, n.numbers(3, 4, 3, 3), updatable=True)


def enlarge(message: pb.Model) -> None:
    """Let the borders be wider than any machine's memory."""
    for edge in first(message).valid.paddingAmounts.borderAmounts:
        edge.startEdgeSize = (1 << 31) - 1


ROWS = [
    Row(rule="weights", layer="l0", change=lambda m: assign(first(m).weights, floatValue=bytes(4 * 35)), words=("the weights of the layer 'l0'", "35 numbers where the layer needs 36")),
    Row(rule="weights", layer="l0", change=lambda m: assign(first(m), outputChannels=(1 << 31) - 2), words=("the weights of the layer 'l0'", "the bias of the layer 'l0'", f"{((1 << 31) - 2) * 9}"), besides=("channels", "area")),
    Row(rule="channels", layer="l0", change=lambda m: assign(first(m), nGroups=3, kernelChannels=1), words=("takes 3 channels, and gets 2", "cannot share 4 output channels among 3 groups")),
    Row(rule="area", layer="l0", change=lambda m: first(m).dilationFactor.__setitem__(0, 3), words=("'l0' (convolution) does not fit: its kernel reaches over 7 × 3, and what arrives is 6 × 8",), apple="accepts"),
    Row(rule="area", layer="l1", change=lambda m: pool(m).kernelSize.__setitem__(1, 9), words=("'l1' (pooling) does not fit: its kernel reaches over 2 × 9, and what arrives is 4 × 8",), apple="accepts"),
    Row(rule="area", layer="l0", change=enlarge, words=("makes 18446744151018963016 numbers of a sample",), apple="accepts", besides=("channels",)),
    Row(rule="area", layer="l1", change=lambda m: pad_anew(pool(m), ((2, 0), (0, 0))), words=("'l1' (pooling) has a window that lies in the padding altogether",), apple="accepts", besides=("channels",)),
    Row(rule="area", layer="l1", change=lambda m: pad_anew(pool(m), ((0, 0), (0, 2))), words=("lies in the padding altogether",), apple="accepts", besides=("channels",)),
    Row(rule="weightsNotMarked", layer="l0", change=lambda m: assign(first(m).bias, isUpdatable=False), words=("'l0', has bias not marked",)),
    Row(rule="layerType", layer="l1", change=lambda m: assign(m.neuralNetwork.layers[1], isUpdatable=True), words=("pooling, is neither convolution nor inner-product",)),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_a_broken_convolution_is_found_out(row: Row) -> None:
    judge(convolved(), row)


SPREAD = [
    Row(rule="area", layer="l0", change=lambda m: first(m).outputShape.__setitem__(0, 15), words=("cannot make its output shape 15 × 15 of 6 × 8", "14 × 18 is the most"), apple="accepts", besides=("channels",)),
    Row(rule="channels", layer="l0", change=regroup, words=("cannot share 2 input channels among 4 groups",), apple="accepts"),
    Row(rule="channels", layer="l0", change=take_three, words=("takes 3 channels, and gets 2",), apple="accepts"),
    Row(rule="weights", layer="l0", change=lambda m: assign(first(m).weights, floatValue=bytes(4)), words=("1 numbers where the layer needs 72",)),
]  # fmt: skip


@pytest.mark.parametrize("row", SPREAD, ids=lambda row: row.rule)
def test_a_broken_deconvolution_is_found_out(row: Row) -> None:
    judge(spread(), row)


@pytest.mark.parametrize("size", [None, (1, 1), (12, 16), (14, 18)])
def test_a_deconvolution_makes_every_size_up_to_a_stride_beyond_its_kernels(size: n.Pair | None) -> None:
    assert check.reasons(n.decoded(spread(size))) == ()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: first(m).kernelSize.__setitem__(0, 0), r"kernelSize is \[0, 3\]"),
        (lambda m: first(m).stride.append(1), r"stride is \[1, 1, 1\]"),
        (lambda m: first(m).dilationFactor.__setitem__(1, 1 << 40), "dilationFactor is"),
        (lambda m: assign(first(m), outputChannels=0), "outputChannels is 0"),
        (lambda m: assign(first(m), nGroups=1 << 60), "nGroups is"),
        (lambda m: first(m).valid.paddingAmounts.borderAmounts.pop(), "1 border amounts"),
        (lambda m: assign(pool(m), type=9), "pooling type 9 is unknown"),
        (lambda m: assign(pool(m).same, asymmetryMode=9), "padding mode 9 is unknown"),
        (lambda m: assign(first(m).same, asymmetryMode=9), "padding mode 9 is unknown"),
    ],
)
def test_what_no_layer_can_have_is_refused_with_its_name(
    change: Callable[[pb.Model], object], complaint: str
) -> None:
    message = convolved()
    change(message)
    with pytest.raises(ModelError, match=rf"layer 'l[01]' \((convolution|pooling)\): .*{complaint}"):
        n.decoded(message)


def area(layer: n.Layer, before: n.Pair) -> n.Pair | None:
    """Return what `check` thinks that comes out."""
    network = n.decoded(n.network([layer], [2, *before])).network
    assert network is not None
    parameters = network.layers[0].parameters
    assert isinstance(parameters, Convolution | Pooling)
    return extents.area(parameters, before)


CASES: list[dict[str, Any]] = [
    {"kernel": (3, 3)},
    {"kernel": (5, 2), "stride": (2, 3)},
    {"kernel": (2, 3), "dilation": (3, 2), "padding": ((1, 1), (2, 2))},
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["convolution", "deconvolution"])
def test_areas_are_those_of_pytorch(kind: str, case: dict[str, Any]) -> None:
    torch = oracle("torch")
    amounts = tuple(pair[0] for pair in case.get("padding", ((0, 0), (0, 0))))
    settings = {"stride": case.get("stride", 1), "dilation": case.get("dilation", 1), "padding": amounts}
    classes = {"convolution": torch.nn.Conv2d, "deconvolution": torch.nn.ConvTranspose2d}
    theirs = classes[kind](2, 4, case["kernel"], **settings)(torch.zeros(1, 2, 9, 11))
    layer = getattr(n, kind)(4, 2, **case)
    assert area(layer, (9, 11)) == tuple(theirs.shape[2:])


@pytest.mark.parametrize("pad", [0, 1])
@pytest.mark.parametrize("size", [7, 8, 9])
def test_a_last_pixel_is_included_as_in_pytorchs_ceiling_mode(pad: int, size: int) -> None:
    torch = oracle("torch")
    theirs = torch.nn.MaxPool2d(3, stride=2, padding=pad, ceil_mode=True)(torch.zeros(1, 2, size, size))
    layer = n.pooling("MAX", kernel=(3, 3), last_pixel=(pad, pad))
    assert area(layer, (size, size)) == tuple(theirs.shape[2:])


# ── what the compiler says of the same ──────────────────────────────────────────────────────────
PAIRS = st.tuples(st.integers(1, 4), st.integers(1, 4))
BORDERS = st.tuples(
    st.tuples(st.integers(0, 3), st.integers(0, 3)), st.tuples(st.integers(0, 3), st.integers(0, 3))
)
PADDINGS = st.one_of(BORDERS, st.sampled_from(["BOTTOM_RIGHT_HEAVY", "TOP_LEFT_HEAVY"]))
WINDOWS = {"kernel": PAIRS, "stride": PAIRS, "padding": PADDINGS}
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))
SPATIAL = st.one_of(
    st.builds(n.convolution, st.just(1), st.just(1), dilation=PAIRS, **WINDOWS),
    st.builds(n.deconvolution, st.just(1), st.just(1), size=st.none() | SIZES, dilation=PAIRS, **WINDOWS),
    st.builds(n.pooling, st.sampled_from(["MAX", "AVERAGE", "L2"]), **WINDOWS),
    st.builds(
        n.pooling,
        st.just("MAX"),
        kernel=PAIRS,
        stride=PAIRS,
        last_pixel=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    ),
)


@settings(max_examples=300, deadline=None)
@given(layer=SPATIAL, before=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_check_refuses_the_areas_that_the_compiler_refuses_and_no_other(
    layer: n.Layer, before: n.Pair
) -> None:
    model = n.decoded(n.network([layer], [1, *before]))
    assert model.network is not None
    refused = [reason.message for reason in areas.areas(case(model, model.network))]
    made = extents.follow(model, model.network)["l0"].area
    assert compiled_area(model) == (None if refused else made), refused


def compiled_area(model: Model) -> tuple[int, ...] | None:
    """Return the height and width that the compiler finds, or None where it refuses."""
    try:
        (sizes,) = compile_inference(model).outputs.values()
    except ModelError:
        return None
    return sizes[1:] or (1, 1)
