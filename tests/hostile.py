"""Files that claim much and hold little, for tests; `python hostile.py` reads and judges them all."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable

from finetuned.errors import ModelError
from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb

Maker = Callable[[], bytes]
MOST_MB = 160
"""What the greatest of these files (40 MB) and the greatest number of fields may take together."""

HUGE = (1 << 31) - 1


def field(number: int, payload: bytes) -> bytes:
    """Write a field that holds bytes, as protobuf does."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """Write a number."""
    head = bytearray()
    while value > 0x7F:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])


# ── files ───────────────────────────────────────────────────────────────────────────────────────
def nested_pipelines() -> bytes:
    """Return a pipeline in a pipeline, five thousand deep."""
    inner = b""
    for _ in range(5000):
        inner = field(202, field(1, inner))
    return inner


def twenty_million_layers() -> bytes:
    """Return two bytes a layer."""
    return field(500, field(1, b"") * 20_000_000)


def a_million_samples() -> bytes:
    """Return nearest neighbours with nothing in them, a little below what is refused."""
    return field(404, field(1, field(2, b"") * 950_000))


def a_million_borders() -> bytes:
    """Return a convolution with more borders than a picture has sides."""
    return field(500, field(1, field(100, field(50, field(1, field(10, b"") * 950_000)))))


def a_long_shape() -> bytes:
    """Return an input of very many dimensions."""
    shape = field(1, b"\x01" * 2_000_000)
    return field(2, field(1, field(1, b"x") + field(3, field(5, shape)))) + field(500, b"")


def a_long_name() -> bytes:
    """Return a layer with a name of a megabyte."""
    return field(500, field(1, field(1, b"n" * (1 << 20))))


def no_text() -> bytes:
    """Return a layer whose name is not UTF-8."""
    return field(500, field(1, field(1, b"\xff\xfe\x1b[31m")))


def a_group() -> bytes:
    """Return a field of a kind that Core ML does not write."""
    return b"\x0b\x0c" + field(500, b"")


def an_endless_number() -> bytes:
    """Return a version that never ends."""
    return b"\x08" + b"\xff" * 40


def of_dense(change: Callable[[pb.InnerProductLayerParams], object]) -> bytes:
    """Return a network with one dense layer, as it was changed."""
    model = pb.Model(specificationVersion=4, isUpdatable=True)
    layer = model.neuralNetwork.layers.add(name="dense", input=["x"], output=["y"], isUpdatable=True)
    feature = model.description.input.add(name="x")
    feature.type.multiArrayType.shape.append(4)
    feature.type.multiArrayType.dataType = pb.ArrayFeatureType.DOUBLE
    change(layer.innerProduct)
    return model.SerializeToString()


def huge_and_empty() -> bytes:
    """Return four million million million weights, none of which is there."""

    def change(dense: pb.InnerProductLayerParams) -> None:
        dense.inputChannels = dense.outputChannels = HUGE
        dense.weights.isUpdatable = True

    return of_dense(change)


def huge_in_one_bit() -> bytes:
    """Return weights of one bit each, far fewer than are claimed."""

    def change(dense: pb.InnerProductLayerParams) -> None:
        dense.inputChannels = dense.outputChannels = HUGE
        dense.weights.rawValue = bytes(1 << 20)
        dense.weights.quantization.numberOfBits = 1
        dense.weights.quantization.lookupTableQuantization.floatValue = bytes(8)

    return of_dense(change)


def beyond_any_number() -> bytes:
    """Return a dense layer wider than the format's own numbers are meant."""
    return of_dense(lambda dense: setattr(dense, "inputChannels", (1 << 64) - 1))


def many_bits() -> bytes:
    """Return weights that are quantised to more bits than there are."""

    def change(dense: pb.InnerProductLayerParams) -> None:
        dense.inputChannels = dense.outputChannels = 4
        dense.weights.rawValue = bytes(16)
        dense.weights.quantization.numberOfBits = 1 << 62

    return of_dense(change)


def long_network(layers: int) -> bytes:
    """Return a network with so many frozen activations before a trained layer; nothing is wrong with it."""
    activation = field(130, field(10, b""))
    chain = b"".join(
        field(1, field(1, b"a%d" % i) + field(2, b"b%d" % i) + field(3, b"b%d" % (i + 1)) + activation)
        for i in range(layers)
    )
    return chain_end(layers, chain)


def chain_end(layers: int, chain: bytes) -> bytes:
    """Return an updatable network: the chain between its first layer and its last three."""
    import networks as n  # noqa: PLC0415 - only this needs it

    last = f"b{layers}"
    model = n.trainable([n.activation("tanh"), n.flatten(), n.dense(2, 3, updatable=True), n.softmax()], [3])
    message = model.neuralNetwork.layers
    message[0].output[0] = "b0"
    message[1].input[0] = last
    whole = model.neuralNetwork.SerializeToString()
    first = field(1, message[0].SerializeToString())
    model.ClearField("Type")
    assert whole.startswith(first)
    return model.SerializeToString() + field(500, first + chain + whole[len(first) :])


FILES: tuple[tuple[Maker, str], ...] = (
    (nested_pipelines, "nested more than 64 deep"),
    (twenty_million_layers, "more than 100000 messages of type NeuralNetworkLayer"),
    (a_million_samples, "0 labels for 950000 samples"),
    (a_million_borders, "outputChannels is 0"),
    (a_long_shape, "more than 1200000 fields"),
    (a_long_name, "a text of 1048576 bytes"),
    (no_text, "is not UTF-8"),
    (a_group, "wire type 3"),
    (an_endless_number, "has no end"),
    (huge_and_empty, "the weights of the layer 'dense' cannot be read"),
    (huge_in_one_bit, "1048576 bytes where 4611686014132420609 numbers of 1 bits need"),
    (beyond_any_number, "inputChannels is 18446744073709551615"),
    (many_bits, "quantised to 4611686018427387904 bits"),
)


def said(data: bytes) -> str:
    """Return why the file is refused, or all that is wrong with it."""
    try:
        return " ".join(reason.message for reason in check.reasons(codec.decode(data)))
    except ModelError as error:
        return str(error)


def main() -> None:
    """Read and judge all files; print what is said of each, and the memory that it took beyond what was there before (MB)."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = [{"fault": fault, "said": said(make())} for make, fault in FILES]
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    sys.stdout.write(json.dumps({"said": rows, "mb": taken}))


if __name__ == "__main__":
    main()
