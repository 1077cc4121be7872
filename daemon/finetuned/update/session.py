"""The one importer of onnxruntime: programs become sessions with fixed threads and bound buffers.

`ORT_DISABLE_TELEMETRY=1` must stand in the environment before the import: later it is too late, and onnxruntime's
Linux wheels send telemetry by default.  It is set here, where the import is.
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from finetuned.errors import HostError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from finetuned.graph.program import Program

Array = NDArray[Any]

CPU = "CPUExecutionProvider"
VERSION = str(ort.__version__)


class Session:
    """A program that runs.

    Args:
        program: what to run.
        threads: threads of one run.  The result depends on it to the last bit, so it never changes within a task.
        providers: onnxruntime's execution providers, most wanted first.
    """

    def __init__(self, program: Program, *, threads: int = 1, providers: Sequence[str] = (CPU,)) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads steal the cores of everybody else; a background task sleeps instead (ENGINE.md: 0-10 % slower
        # on an idle machine, two to three times faster on a busy one).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.program = program
        try:
            self._session = ort.InferenceSession(program.onnx, options, providers=list(providers))
        except Exception as error:  # onnxruntime raises a dozen classes of its own, all "cannot run this"
            raise ModelError(f"onnxruntime cannot run the compiled model: {error}") from error

    @property
    def device(self) -> str:
        """The provider that computes, in one word: `cpu` or `cuda`, for example."""
        return str(self._session.get_providers()[0]).removesuffix("ExecutionProvider").lower()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; arrays in, arrays out, copied by onnxruntime."""
        names = list(self.program.outputs)
        try:
            results = self._session.run(names, dict(feeds))
        except Exception as error:  # as above
            raise HostError(f"onnxruntime failed: {error}") from error
        return dict(zip(names, results, strict=True))

    def bind(self, feeds: Mapping[str, Array], results: Mapping[str, Array]) -> Bound:
        """Bind buffers once; every run then reads and writes this very memory."""
        binding = self._session.io_binding()
        for name, array in _chosen(feeds, self.program.inputs):
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in _chosen(results, self.program.outputs):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return Bound(self._session, binding, (feeds, results))


class Bound:
    """Buffers bound to a session; `run` is one step without a copy."""

    __slots__ = ("_binding", "_kept", "_session")

    def __init__(self, session: ort.InferenceSession, binding: Any, kept: Any) -> None:  # noqa: ANN401 - onnxruntime has no types
        self._session = session
        self._binding = binding
        # onnxruntime knows addresses only: the arrays must live as long as this object.
        self._kept = kept

    def run(self) -> None:
        """Run on the bound memory."""
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above
            raise HostError(f"onnxruntime failed: {error}") from error


def _chosen(arrays: Mapping[str, Array], names: Iterable[str]) -> list[tuple[str, Array]]:
    chosen = [(name, arrays[name]) for name in names]
    for name, array in chosen:
        if not array.flags.c_contiguous or not isinstance(array, np.ndarray):
            raise ValueError(f"the buffer for {name!r} is not contiguous")
    return chosen
