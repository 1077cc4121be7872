"""The one importer of onnxruntime: programs become sessions with fixed threads and bound buffers.

Buffers are bound in the sense of onnxruntime on the CPU only, where a run computes in this very memory.  Elsewhere it would
copy what goes in when it is bound, once for all runs; so there every run is given what is to be read, and what came of it
is copied to where it is wanted.

`ORT_DISABLE_TELEMETRY=1` must stand in the environment before the import: later it is too late, and onnxruntime's
Linux wheels send telemetry by default.  It is set here, where the import is.
"""

from __future__ import annotations

import contextlib
import io
import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from finetuned.errors import HostError, ModelError
from finetuned.update.devices import CPU, device_of, options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from finetuned.graph.program import Program

Array = NDArray[Any]
T = TypeVar("T")

VERSION = str(ort.__version__)
_NVIDIA = {"cuda", "tensorrt"}
_SHOWN = 200
"""So much is told of what onnxruntime says."""
_NO_MEMORY = ("bad_alloc", "Failed to allocate")
"""What onnxruntime says of the machine, where it has no class for it."""


class DeviceError(HostError):
    """A device other than the CPU cannot compute this, or not any more; the CPU still can."""


def available() -> dict[str, str]:
    """Return the providers of the installed onnxruntime, by device."""
    return {device_of(provider): provider for provider in ort.get_available_providers()}


class Session:
    """A program that runs.

    Args:
        program: what to run.
        threads: threads of one run.  The result depends on it to the last bit, so it never changes within a task.
        device: where it computes, one of `available()`; what a provider cannot do is done on the CPU.

    Raises:
        DeviceError: another device than the CPU cannot be used.
        HostError: there is no memory for it.
        ModelError: the CPU cannot run this.
    """

    def __init__(self, program: Program, *, threads: int = 1, device: str = CPU) -> None:
        self.program = program
        self.device = device
        try:
            self._session = _opened(program.onnx, device, threads)
        except Exception as error:  # onnxruntime raises a dozen classes of its own, all "cannot run this"
            if device != CPU:
                raise DeviceError(f"it cannot run the compiled model: {_short(error)}") from error
            if _is_of_memory(error):
                raise HostError(
                    f"there is not enough memory for the compiled model: {_short(error)}"
                ) from error
            raise ModelError(f"onnxruntime cannot run the compiled model: {error}") from error
        # onnxruntime goes on with others of its providers where it cannot load one, and says so on the standard error.
        if device_of(self._session.get_providers()[0]) != device:
            raise DeviceError("onnxruntime cannot load it; the libraries or the hardware are missing")

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; arrays in, arrays out, copied by onnxruntime."""
        names = list(self.program.outputs)
        results = _computed(self.device, lambda: self._session.run(names, dict(feeds)))
        return dict(zip(names, results, strict=True))

    def bind(self, feeds: Mapping[str, Array], results: Mapping[str, Array]) -> Bound:
        """Bind buffers once; every run then reads what is in `feeds` by then, and writes into `results`."""
        read, written = _chosen(feeds, self.program.inputs), _chosen(results, self.program.outputs)
        if self.device != CPU:
            return Bound(lambda: self._copied(read, written), (feeds, results))
        binding = _computed(self.device, lambda: self._binding(read, written))
        return Bound(
            lambda: _computed(self.device, lambda: self._session.run_with_iobinding(binding)),
            (feeds, results),
        )

    def _binding(self, read: dict[str, Array], written: dict[str, Array]) -> Any:  # noqa: ANN401 - onnxruntime has no types
        binding = self._session.io_binding()
        for name, array in read.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in written.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding

    def _copied(self, read: dict[str, Array], written: dict[str, Array]) -> None:
        for name, array in self.run(read).items():
            written[name][...] = array


class Bound:
    """Buffers bound to a session; `run` is one step, on the CPU without a copy."""

    __slots__ = ("_compute", "_kept")

    def __init__(self, compute: Callable[[], None], kept: object) -> None:
        self._compute = compute
        # onnxruntime knows addresses only: the arrays must live as long as this object.
        self._kept = kept

    def run(self) -> None:
        """Run on what the memory holds now; DeviceError where another device than the CPU fails."""
        self._compute()


def _find_libraries(device: str) -> None:
    """Load CUDA's libraries from Python packages of NVIDIA's, where they are: onnxruntime looks elsewhere only."""
    if device in _NVIDIA and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            ort.preload_dlls()


def _opened(onnx: bytes, device: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads steal the cores of everybody else; a background task sleeps instead (ENGINE.md: 0-10 % slower
    # on an idle machine, two to three times faster on a busy one).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    _find_libraries(device)
    there = available()
    providers: list[Any] = [(there[device], options_of(device, threads=threads))]
    if device != CPU:
        providers.append(there[CPU])
    # A provider that fails is not changed behind our back.
    return ort.InferenceSession(onnx, options, providers=providers, enable_fallback=0)


def _computed(device: str, compute: Callable[[], T]) -> T:
    try:
        return compute()
    except Exception as error:  # as above
        if device != CPU:
            raise DeviceError(f"it failed: {_short(error)}") from error
        raise HostError(f"onnxruntime failed: {error}") from error


def _short(error: Exception) -> str:
    """The end of what onnxruntime says; it begins with the places in its own sources."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1][-_SHOWN:].strip()


def _is_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def _chosen(arrays: Mapping[str, Array], names: Iterable[str]) -> dict[str, Array]:
    chosen = {name: arrays[name] for name in names}
    for name, array in chosen.items():
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            raise ValueError(f"the buffer for {name!r} is not contiguous")
    return chosen
