"""Where an update computes: which of the devices that are wanted, and how exactly.

A device is an execution provider of onnxruntime's in one word: its name in small letters, without `ExecutionProvider`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CPU = "cpu"
"""The last resort: it is in every onnxruntime, and has no trouble of its own."""

_SUFFIX = "executionprovider"

_EXACT: dict[str, dict[str, str]] = {
    "cuda": {"use_tf32": "0"},
    "openvino": {"precision": "FP32", "num_of_threads": "{threads}"},
}
"""What makes a provider compute in float32 throughout, where it would save bits (TF32, bfloat16), and on as many threads as
it is told, where it would take every core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The device to compute on, and why not on each that is wanted more."""

    device: str
    passed: Mapping[str, str]


def device_of(provider: str) -> str:
    """Return the word for a provider: `cuda` for `CUDAExecutionProvider`."""
    return provider.lower().removesuffix(_SUFFIX)


def options_of(device: str, *, threads: int) -> dict[str, str]:
    """Return the provider's options for exact results on so many threads."""
    return {key: value.format(threads=threads) for key, value in _EXACT.get(device, {}).items()}


def choose(wanted: Sequence[str], available: Iterable[str], failed: Mapping[str, str]) -> Choice:
    """Return the first device that is wanted, available and has not failed; in the end the CPU, listed or not.

    `available` are devices, `failed` says of some of them what was wrong.
    """
    there = tuple(available)
    lacking = f"this onnxruntime has {', '.join(there)}"
    passed: dict[str, str] = {}
    for device in takewhile(lambda each: each != CPU, wanted):
        if device in there and device not in failed:
            return Choice(device=device, passed=passed)
        passed[device] = failed.get(device, lacking)
    return Choice(device=CPU, passed=passed)


def in_words(passed: Mapping[str, str]) -> str:
    """Return why devices were passed over, in one line."""
    return "; ".join(f"{device}: {why}" for device, why in passed.items())
