"""On-device personalization: Core ML's update task, on any Linux machine.

The public face: Apple's names, for scripts and plugins, each imported when it is first used, so that what needs no NumPy
loads none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetuned.errors import (
        CheckpointError,
        DivergenceError,
        FinetunedError,
        HostError,
        ModelError,
        ParameterError,
        PluginError,
        SampleError,
        StateError,
    )
    from finetuned.policy.zones import Reading, Sensor
    from finetuned.service.messages import InputSpec
    from finetuned.service.plugins import Decoder, hookimpl
    from finetuned.service.training_data import load_samples
    from finetuned.spec.check import reasons
    from finetuned.spec.codec import decode
    from finetuned.spec.model import Model
    from finetuned.states import TaskState
    from finetuned.update.events import MetricKey, ProgressEvent, ProgressHandlers, UpdateContext
    from finetuned.update.parameters import ParameterKey
    from finetuned.update.predictor import Predictor
    from finetuned.update.task import CancelledError, UpdateTask
    from finetuned.update.updated_model import UpdatedModel

__version__ = "0.1.0"

_HOMES = {
    "CancelledError": "update.task",
    "CheckpointError": "errors",
    "Decoder": "service.plugins",
    "DivergenceError": "errors",
    "FinetunedError": "errors",
    "HostError": "errors",
    "InputSpec": "service.messages",
    "MetricKey": "update.events",
    "Model": "spec.model",
    "ModelError": "errors",
    "ParameterError": "errors",
    "ParameterKey": "update.parameters",
    "PluginError": "errors",
    "Predictor": "update.predictor",
    "ProgressEvent": "update.events",
    "ProgressHandlers": "update.events",
    "Reading": "policy.zones",
    "SampleError": "errors",
    "Sensor": "policy.zones",
    "StateError": "errors",
    "TaskState": "states",
    "UpdateContext": "update.events",
    "UpdateTask": "update.task",
    "UpdatedModel": "update.updated_model",
    "decode": "spec.codec",
    "hookimpl": "service.plugins",
    "load_samples": "service.training_data",
    "reasons": "spec.check",
}

__all__ = [
    "CancelledError",
    "CheckpointError",
    "Decoder",
    "DivergenceError",
    "FinetunedError",
    "HostError",
    "InputSpec",
    "MetricKey",
    "Model",
    "ModelError",
    "ParameterError",
    "ParameterKey",
    "PluginError",
    "Predictor",
    "ProgressEvent",
    "ProgressHandlers",
    "Reading",
    "SampleError",
    "Sensor",
    "StateError",
    "TaskState",
    "UpdateContext",
    "UpdateTask",
    "UpdatedModel",
    "decode",
    "hookimpl",
    "load_samples",
    "reasons",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever lives there
    """Import a public name from its home."""
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"finetuned has no {name!r}; it has {', '.join(sorted(_HOMES))}") from None
    return getattr(import_module(f"finetuned.{home}"), name)


def __dir__() -> list[str]:
    """Name what is public."""
    return [*__all__, "__version__"]
