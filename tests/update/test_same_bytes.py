"""Same model, samples, parameters, seed and threads: the same bytes, on every run and after every resume."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from finetuned.update import memory
from shared import shared
from update import repeats
from update.repeats import REPEATS, Repeat, digests, lenet

if TYPE_CHECKING:
    from finetuned.update.events import UpdateContext

LENET = "updatable_built/LeNet_MNIST_allconv_adam_updatable.mlmodel"
NAMES = [*REPEATS, "LeNet"]
PROCESSES = [
    {"PYTHONHASHSEED": "0"},
    {"PYTHONHASHSEED": "1", "PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "85", "OPENBLAS_NUM_THREADS": "2"},
]


def chosen(name: str) -> Repeat:
    return REPEATS[name] if name in REPEATS else lenet(shared(LENET).read_bytes())


def in_a_process(environ: dict[str, str], in_memory: int) -> subprocess.Popen[str]:
    """Train everything in a process of its own."""
    path = os.pathsep.join(sys.path)
    return subprocess.Popen(
        [sys.executable, str(repeats.__file__), shared(LENET), str(in_memory)],
        env={**os.environ, "PYTHONPATH": path, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_other_processes_end_in_the_same_bytes_wherever_the_samples_lie() -> None:
    running = [
        in_a_process(environ, in_memory) for environ, in_memory in zip(PROCESSES, (0, 10**6), strict=True)
    ]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    own = digests({name: chosen(name) for name in NAMES})
    assert len(own) == 2 * len(NAMES)
    for out, _ in said:
        assert out.splitlines() == own


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_task_that_goes_on_after_any_event_ends_in_the_bytes_of_one_that_never_stopped(
    name: str, threads: int
) -> None:
    def keep(context: UpdateContext) -> None:
        kept.append(context.task.checkpoint())

    repeat = chosen(name)
    kept: list[bytes] = []
    whole = repeat.task(keep, threads=threads)
    whole.resume()
    wanted, first = whole.model.encode(), list(kept)
    assert len(set(first)) > 2
    for number, checkpoint in enumerate(first):
        kept.clear()
        resumed = repeat.task(keep, threads=threads, resume_from=checkpoint)
        resumed.resume()
        assert resumed.model.encode() == wanted, f"after event {number}"
        assert kept == [checkpoint, *first[number + 1 :]]


@pytest.mark.parametrize("name", ["dense, sgd", "convolutions, sgd", "LeNet"])
def test_the_place_of_the_bound_memory_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = chosen(name).bytes(threads=2)
    for offset in (0, 4, 16, 36):
        monkeypatch.setattr(memory, "np", _placing(offset))
        assert chosen(name).bytes(threads=2) == wanted, f"{offset} bytes behind a cache line's begin"


def _placing(offset: int) -> Any:  # noqa: ANN401 - a part of NumPy
    """Return a NumPy whose new arrays begin so many bytes behind the begin of a cache line."""

    def placed(shape: int | tuple[int, ...], dtype: Any = float) -> Any:  # noqa: ANN401 - NumPy's own
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        room = np.zeros(size + 128, np.uint8)
        start = -room.ctypes.data % 64 + offset
        array = room[start : start + size].view(dtype).reshape(shape)
        assert array.ctypes.data % 64 == offset
        return array

    def full(shape: int, value: float, dtype: Any) -> Any:  # noqa: ANN401 - as above
        array = placed(shape, dtype)
        array[...] = value
        return array

    others = {name: getattr(np, name) for name in ("arange", "float32", "int64", "concatenate")}
    return SimpleNamespace(empty=placed, zeros=placed, full=full, **others)
