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
    from finetuned.service.executor import Capabilities, Executor
    from finetuned.service.machine import Machine
    from finetuned.service.messages import (
        LAST,
        Adjust,
        Adjusted,
        Adjustment,
        Cancel,
        Cancelled,
        Checkpointed,
        CheckpointRef,
        Completed,
        EpochEnd,
        Failed,
        Heartbeat,
        Held,
        InputSpec,
        Kill,
        Lost,
        Metrics,
        MiniBatchEnd,
        Moved,
        Pace,
        Pause,
        Prepared,
        Release,
        Released,
        Report,
        Restored,
        Resume,
        SampleRef,
        Start,
        TaskSpec,
        TrainingBegin,
        result_path,
    )
    from finetuned.service.opinions import Opinion, SecondOpinion
    from finetuned.service.plugins import Decoder, hookimpl
    from finetuned.service.training_data import load_samples
    from finetuned.service.work import Work
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
    "Adjust": "service.messages",
    "Adjusted": "service.messages",
    "Adjustment": "service.messages",
    "Cancel": "service.messages",
    "Cancelled": "service.messages",
    "CancelledError": "update.task",
    "Capabilities": "service.executor",
    "CheckpointError": "errors",
    "CheckpointRef": "service.messages",
    "Checkpointed": "service.messages",
    "Completed": "service.messages",
    "Decoder": "service.plugins",
    "DivergenceError": "errors",
    "EpochEnd": "service.messages",
    "Executor": "service.executor",
    "Failed": "service.messages",
    "FinetunedError": "errors",
    "Heartbeat": "service.messages",
    "Held": "service.messages",
    "HostError": "errors",
    "InputSpec": "service.messages",
    "Kill": "service.messages",
    "LAST": "service.messages",
    "Lost": "service.messages",
    "Machine": "service.machine",
    "MetricKey": "update.events",
    "Metrics": "service.messages",
    "MiniBatchEnd": "service.messages",
    "Model": "spec.model",
    "ModelError": "errors",
    "Moved": "service.messages",
    "Opinion": "service.opinions",
    "Pace": "service.messages",
    "ParameterError": "errors",
    "ParameterKey": "update.parameters",
    "Pause": "service.messages",
    "PluginError": "errors",
    "Predictor": "update.predictor",
    "Prepared": "service.messages",
    "ProgressEvent": "update.events",
    "ProgressHandlers": "update.events",
    "Reading": "policy.zones",
    "Release": "service.messages",
    "Released": "service.messages",
    "Report": "service.messages",
    "Restored": "service.messages",
    "Resume": "service.messages",
    "SampleError": "errors",
    "SampleRef": "service.messages",
    "SecondOpinion": "service.opinions",
    "Sensor": "policy.zones",
    "Start": "service.messages",
    "StateError": "errors",
    "TaskSpec": "service.messages",
    "TaskState": "states",
    "TrainingBegin": "service.messages",
    "UpdateContext": "update.events",
    "UpdateTask": "update.task",
    "UpdatedModel": "update.updated_model",
    "Work": "service.work",
    "decode": "spec.codec",
    "hookimpl": "service.plugins",
    "load_samples": "service.training_data",
    "reasons": "spec.check",
    "result_path": "service.messages",
}

__all__ = [
    "LAST",
    "Adjust",
    "Adjusted",
    "Adjustment",
    "Cancel",
    "Cancelled",
    "CancelledError",
    "Capabilities",
    "CheckpointError",
    "CheckpointRef",
    "Checkpointed",
    "Completed",
    "Decoder",
    "DivergenceError",
    "EpochEnd",
    "Executor",
    "Failed",
    "FinetunedError",
    "Heartbeat",
    "Held",
    "HostError",
    "InputSpec",
    "Kill",
    "Lost",
    "Machine",
    "MetricKey",
    "Metrics",
    "MiniBatchEnd",
    "Model",
    "ModelError",
    "Moved",
    "Opinion",
    "Pace",
    "ParameterError",
    "ParameterKey",
    "Pause",
    "PluginError",
    "Predictor",
    "Prepared",
    "ProgressEvent",
    "ProgressHandlers",
    "Reading",
    "Release",
    "Released",
    "Report",
    "Restored",
    "Resume",
    "SampleError",
    "SampleRef",
    "SecondOpinion",
    "Sensor",
    "Start",
    "StateError",
    "TaskSpec",
    "TaskState",
    "TrainingBegin",
    "UpdateContext",
    "UpdateTask",
    "UpdatedModel",
    "Work",
    "decode",
    "hookimpl",
    "load_samples",
    "reasons",
    "result_path",
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
