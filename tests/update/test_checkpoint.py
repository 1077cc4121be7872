from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetuned.errors import CheckpointError
from finetuned.update import checkpoint
from finetuned.update.checkpoint import Position, Snapshot

IDENTITY = "of this task"
WEIGHTS = np.arange(6, dtype=np.float32)
VELOCITY = np.full(6, 0.1, dtype=np.float32)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNT = st.integers(0, 10**12)


def snapshot(**changes: Any) -> Snapshot:  # noqa: ANN401 - a Snapshot's own
    parts = {
        "position": Position(epoch=1, batch=2, step=5, total=0.1 + 0.2, last=1 / 3),
        "learning_rate": 0.1,
        "arrays": {"weights": WEIGHTS, "optimizer.velocity": VELOCITY, "optimizer.none": WEIGHTS[:0]},
        "seed": -7,
    }
    return Snapshot(**{**parts, **changes})


SOUND = checkpoint.encode(snapshot(), IDENTITY)


def header_of(data: bytes) -> dict[str, Any]:
    """Read the header as safetensors' description says."""
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def with_header(header: object, numbers: bytes = SOUND[-48:]) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + numbers


def changed(name: str, **values: Any) -> bytes:  # noqa: ANN401 - anything JSON has
    """Return the sound checkpoint after a change of one entry of its header."""
    header = header_of(SOUND)
    return with_header({**header, name: {**header[name], **values}})


# ── there and back ──────────────────────────────────────────────────────────────────────────────
@given(
    position=st.builds(Position, epoch=COUNT, batch=COUNT, step=COUNT, total=FINITE, last=FINITE),
    rate=FINITE,
    seed=st.integers(-(2**63), 2**63 - 1),
    weights=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=9),
    identity=st.text(max_size=80),
)
def test_what_comes_back_is_what_went_in_to_the_last_bit(
    position: Position, rate: float, seed: int, weights: list[float], identity: str
) -> None:
    arrays = {"weights": np.array(weights, np.float32), "optimizer.second": np.array([np.inf], np.float32)}
    kept = Snapshot(position=position, learning_rate=rate, arrays=arrays, seed=seed)
    data = checkpoint.encode(kept, identity)
    found = checkpoint.decode(data, identity)
    assert repr((found.position, found.learning_rate, found.seed)) == repr((position, rate, seed))
    assert {n: a.tobytes() for n, a in found.arrays.items()} == {n: a.tobytes() for n, a in arrays.items()}
    assert checkpoint.seed_of(data) == seed


def test_the_file_is_laid_out_as_safetensors_are() -> None:
    """https://github.com/huggingface/safetensors#format, by hand."""
    header = header_of(SOUND)
    size = int.from_bytes(SOUND[:8], "little")
    numbers = SOUND[8 + size :]
    assert (8 + size) % 8 == 0
    assert all(isinstance(text, str) for text in header.pop("__metadata__").values())
    assert list(header) == ["weights", "optimizer.velocity", "optimizer.none"]
    assert {entry["dtype"] for entry in header.values()} == {"F32"}
    start, end = header["optimizer.velocity"]["data_offsets"]
    assert np.frombuffer(numbers[start:end], "<f4").tolist() == VELOCITY.tolist()
    assert header["optimizer.none"]["shape"] == [0]
    assert len(numbers) == 48


# ── what is refused ─────────────────────────────────────────────────────────────────────────────
REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut off"),
    "a part of the length": (SOUND[:5], "cut off"),
    "a part of the header": (SOUND[:60], "cut off"),
    "the last number is missing": (SOUND[:-4], "cut off"),
    "too many bytes": (SOUND + bytes(4), "4 bytes too many"),
    "a model": (b"\x08\x04\x12\x0badescription", "no checkpoint's header"),
    "a huge header": ((1 << 62).to_bytes(8, "little") + SOUND[8:], "no checkpoint's header"),
    "a deep header": (with_header(b"[" * 60_000), "no JSON"),
    "a long number": (with_header(b"1" * 9000), "no JSON"),
    "no UTF-8": (with_header(b'{"\xff": 1}'), "no JSON"),
    "a list": (with_header([1]), "no object"),
    "nothing in it": (with_header({}), "no metadata"),
    "another format": (changed("__metadata__", format="pt"), "another format: 'pt'"),
    "another NumPy": (changed("__metadata__", numpy="1.0"), "NumPy '1.0'"),
    "a number for a text": (changed("__metadata__", identity=1), "identity is of type int"),
    "a negative step": (changed("__metadata__", step="-1"), "step is '-1'"),
    "a step of other digits": (changed("__metadata__", step="²"), "step is"),
    "an endless step": (changed("__metadata__", step="9" * 5000), "step is '999"),
    "an infinite loss": (changed("__metadata__", total="inf"), "total is 'inf'"),
    "a rate beyond a double": (changed("__metadata__", learningRate="0x1p9999"), "learningRate"),
    "a seed beyond 64 bits": (changed("__metadata__", seed=str(2**63)), "seed is"),
    "another type": (changed("weights", dtype="F64"), "no flat float32 array"),
    "another shape": (changed("weights", shape=[2, 3]), "no flat float32 array"),
    "a shape that does not fit": (changed("weights", shape=[7]), "no flat float32 array"),
    "backwards": (changed("weights", shape=[-6], data_offsets=[24, 0]), "no flat float32 array"),
    "before the beginning": (changed("weights", data_offsets=[-24, 0]), "no flat float32 array"),
    "overlapping": (changed("optimizer.velocity", data_offsets=[20, 44]), "begins at 20, not at 24"),
    "a gap": (changed("optimizer.velocity", data_offsets=[28, 52]), "begins at 28, not at 24"),
    "beyond the end": (changed("optimizer.velocity", shape=[99], data_offsets=[24, 420]), "cut off"),
    "another loss": (changed("__metadata__", total="0x1p0"), "SHA-256"),
    "NaN": (checkpoint.encode(snapshot(arrays={"optimizer.first": WEIGHTS * np.nan}), IDENTITY), "NaN"),
    "an infinite weight": (
        checkpoint.encode(snapshot(arrays={"weights": 1 / VELOCITY[:1] * np.inf}), IDENTITY),
        "infinite",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_damaged_checkpoint_is_refused_with_what_is_wrong(what: str) -> None:
    data, words = REFUSED[what]
    with pytest.raises(CheckpointError, match=words):
        checkpoint.decode(data, IDENTITY)


def test_a_checkpoint_of_another_task_is_refused() -> None:
    with pytest.raises(CheckpointError, match="of another task: 'of this task' instead of 'of that'"):
        checkpoint.decode(SOUND, "of that")


def test_a_message_is_short_and_plain_whatever_the_file_says() -> None:
    with pytest.raises(CheckpointError) as refused:
        checkpoint.decode(changed("__metadata__", identity="\ud800" * 9000), IDENTITY)
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()


def test_an_identity_too_long_to_be_read_again_is_not_written() -> None:
    with pytest.raises(ValueError, match="too long"):
        checkpoint.encode(snapshot(), "x" * 70_000)


@settings(max_examples=500)
@given(st.data())
def test_spoiled_bytes_are_refused_or_say_the_same(data: st.DataObject) -> None:
    """What may be said in other bytes is little: spaces in the header, a number's exponent in capitals."""
    spoiled = bytearray(SOUND[: data.draw(st.sampled_from([len(SOUND)]) | st.integers(1, len(SOUND)))])
    for at in data.draw(st.lists(st.integers(0, len(spoiled) - 1), max_size=4)):
        spoiled[at] = data.draw(st.integers(0, 255))
    try:
        found = checkpoint.decode(bytes(spoiled), IDENTITY)
    except CheckpointError:
        return
    assert checkpoint.encode(found, IDENTITY) == SOUND


@pytest.mark.parametrize("bit", range(8))
def test_one_bit_of_a_number_is_enough_to_refuse_it(bit: int) -> None:
    spoiled = bytearray(SOUND)
    spoiled[-40] ^= 1 << bit
    with pytest.raises(CheckpointError, match="SHA-256"):
        checkpoint.decode(bytes(spoiled), IDENTITY)
