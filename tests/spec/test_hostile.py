"""Files that somebody damaged, or made to do damage: they are refused or judged, and nothing else happens."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import dense_classifier, dense_regressor
from finetuned.errors import ModelError
from finetuned.spec import check, codec
from finetuned.spec.author import ImageInput
from finetuned.spec.codec import LayerWeights
from finetuned.spec.model import InnerProduct, Model

MODELS = [
    dense_classifier(hidden=2, image=ImageInput(width=2, height=2)),
    dense_regressor(hidden=2, optimizer="adamOptimizer"),
]
FLIP = st.tuples(st.integers(min_value=0), st.integers(min_value=1, max_value=255))


def read(data: bytes) -> None:
    """Do all that is done with a stranger's file, up to the weights."""
    with contextlib.suppress(ModelError):
        model = codec.decode(data)
        check.reasons(model)
        codec.encode(model, same_weights(model))


def same_weights(model: Model) -> dict[str, LayerWeights]:
    """Return the dense layers' own weights."""
    layers = model.network.layers if model.network else ()
    return {
        layer.name: LayerWeights(
            weights=codec.array(dense.weights, codec.weight_shape(dense)),
            bias=codec.array(dense.bias, (dense.output_channels,)) if dense.bias else None,
        )
        for layer in layers
        if isinstance(dense := layer.parameters, InnerProduct)
    }


@given(model=st.sampled_from(MODELS), kept=st.integers(min_value=0, max_value=2000))
def test_a_truncated_model_is_a_model_error_at_worst(model: bytes, kept: int) -> None:
    read(model[:kept])


@settings(max_examples=500)
@given(model=st.sampled_from(MODELS), flips=st.lists(FLIP, min_size=1, max_size=4))
def test_flipped_bytes_are_a_model_error_at_worst(model: bytes, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(model)
    for place, bits in flips:
        damaged[place % len(damaged)] ^= bits
    read(bytes(damaged))


@given(data=st.binary(max_size=200))
def test_random_bytes_are_a_model_error_at_worst(data: bytes) -> None:
    read(data)


def test_a_model_nested_without_end_is_refused() -> None:
    nested = b""
    for _ in range(5000):
        pipeline = b"\x0a" + varint(len(nested)) + nested
        nested = b"\xd2\x0c" + varint(len(pipeline)) + pipeline
    with contextlib.suppress(ModelError):
        assert codec.decode(nested).network is None


def varint(value: int) -> bytes:
    """Write a length as protobuf does."""
    head = bytearray()
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])
