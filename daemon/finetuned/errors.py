"""Every exception of finetuned: one base, and the class says who is at fault.

The core raises, a service decides, an edge reports.  A message says what was found, where, what
is allowed and what to do about it.
"""

from __future__ import annotations


class FinetunedError(Exception):
    """The base of every error that finetuned raises on purpose.

    `fault` is the word that reports and events use for who is to blame.
    """

    fault = "finetuned"


class ModelError(FinetunedError):
    """The model file cannot be read, run or updated."""

    fault = "model"


class SampleError(FinetunedError):
    """A sample (a file from the inbox, or a row of training data) cannot be used."""

    fault = "sample"


class ParameterError(FinetunedError):
    """An update parameter is unknown, or outside of what the model allows."""

    fault = "parameter"


class DivergenceError(FinetunedError):
    """The training left the numbers: a loss or a weight became infinite or NaN; nothing is saved."""

    fault = "training"


class StateError(FinetunedError):
    """A task was asked for a transition that its state does not allow; it stays where it was."""

    fault = "request"


class RequestError(FinetunedError):
    """A request (command line or MQTT) cannot be understood or names something unknown."""

    fault = "request"


class ConfigurationError(FinetunedError):
    """The configuration is wrong; the message lists every mistake."""

    fault = "configuration"


class PluginError(FinetunedError):
    """A plugin does not keep its contract."""

    fault = "plugin"


class HostError(FinetunedError):
    """The machine refuses: disk, permissions, memory, a process that died."""

    fault = "host"


class CheckpointError(HostError):
    """A checkpoint cannot be gone on from: it is damaged, or of another task."""


class OtherTaskError(CheckpointError):
    """A checkpoint is of another task: this one leaves it as it is."""


class InUseError(HostError):
    """Another daemon has the state folder."""
