"""The parameters of an update: defaults, and the ranges or sets that a run may choose from."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from finetuned.errors import ModelError, ParameterError
from finetuned.parameters import Number, Parameter, check_limits, number_of
from finetuned.spec import coreml_pb2 as pb
from finetuned.spec.author.editing import body, learner, opened, scope_of, sealed
from finetuned.spec.names import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

Setting = Parameter | Number
"""A default with what a run may set (a `Parameter` without limits allows anything), or a new default alone."""

_Message = pb.Int64Parameter | pb.DoubleParameter | pb.BoolParameter

_TYPED = re.compile(r"(?P<default>[^:{}]+)(?::(?P<low>[^:{}]+):(?P<high>[^:{}]+)|\{(?P<set>[^{}]+)\})?")
_WORDS = {"true": True, "yes": True, "false": False, "no": False}
_FORMS = "DEFAULT, DEFAULT:MIN:MAX or DEFAULT{a,b,c}"


def with_parameters(data: bytes, settings: Mapping[str, Setting]) -> bytes:
    """Return the model with other defaults, ranges or sets of its update parameters, by Apple's names.

    Of a pipeline they are those of the model that learns, whose scope may stand before a name (`kNNClassifier.numberOfNeighbors`).

    Raises:
        ParameterError: the model has no such parameter, or it cannot have this value.
        ModelError: the model is not updatable, or would not be.
    """
    message = opened(data)
    scope = scope_of(message)
    apply(learner(message), {name.removeprefix(scope): each for name, each in settings.items()})
    return sealed(message, data)


def apply(message: pb.Model, settings: Mapping[str, Setting]) -> None:
    """Set the parameters of a network or a k-NN classifier in place."""
    known = _parameters(message)
    for name, setting in settings.items():
        if name not in known:
            raise ParameterError(f"the model has no parameter {quoted(name)}; it has {', '.join(known)}")
        write(known[name], name, setting)


def _parameters(message: pb.Model) -> dict[str, _Message]:
    """Return the parameters that a model may have; one that is not there yet is made by writing to it."""
    if message.HasField("kNearestNeighborsClassifier"):
        return {"numberOfNeighbors": message.kNearestNeighborsClassifier.numberOfNeighbors}
    update = body(message).updateParams
    kind = update.optimizer.WhichOneof("OptimizerType")
    if kind is None:
        raise ModelError("the model has no optimizer whose parameters could be set; make it updatable first")
    optimizer = update.optimizer.sgdOptimizer if kind == "sgdOptimizer" else update.optimizer.adamOptimizer
    found: dict[str, _Message] = {
        field.name: getattr(optimizer, field.name) for field in optimizer.DESCRIPTOR.fields
    }
    return found | {"epochs": update.epochs, "shuffle": update.shuffle, "seed": update.seed}


# ── one parameter ───────────────────────────────────────────────────────────────────────────────
def write(message: _Message, name: str, setting: Setting) -> None:
    """Write a default, and what is allowed where the setting says it."""
    default = setting.default if isinstance(setting, Parameter) else setting
    check_limits(name, default)
    if isinstance(message, pb.BoolParameter):
        if not isinstance(default, bool) or isinstance(setting, Parameter):
            raise ParameterError(
                f"{name} is true or false, without a range or a set; found {_shown(setting)}"
            )
        message.defaultValue = default
    elif isinstance(message, pb.DoubleParameter):
        _write_real(message, name, setting, default)
    else:
        _write_whole(message, name, setting, default)


def _write_real(message: pb.DoubleParameter, name: str, setting: Setting, default: Number) -> None:
    message.defaultValue = float(default)
    if not isinstance(setting, Parameter):
        return
    if setting.allowed is not None:
        raise ParameterError(
            f"{name} is a real number, for which the format has no sets; write DEFAULT:MIN:MAX"
        )
    message.ClearField("range")
    if setting.minimum is not None and setting.maximum is not None:
        message.range.minValue, message.range.maxValue = float(setting.minimum), float(setting.maximum)


def _write_whole(message: pb.Int64Parameter, name: str, setting: Setting, default: Number) -> None:
    message.defaultValue = _whole(name, default)
    if not isinstance(setting, Parameter):
        return
    message.ClearField("range")
    message.ClearField("set")
    if setting.allowed is not None:
        message.set.values[:] = sorted({_whole(name, each) for each in setting.allowed})
    elif setting.minimum is not None and setting.maximum is not None:
        message.range.minValue = _whole(name, setting.minimum)
        message.range.maxValue = _whole(name, setting.maximum)


def _whole(name: str, value: Number) -> int:
    if (
        isinstance(value, bool)
        or not math.isfinite(value)
        or value != int(value)
        or not -(1 << 63) <= value < 1 << 63
    ):
        raise ParameterError(f"{name}={value} is not a whole number of 64 bits")
    return int(value)


def _shown(setting: Setting) -> str:
    return str(setting.default if isinstance(setting, Parameter) else setting)


# ── as typed ────────────────────────────────────────────────────────────────────────────────────
def setting(name: str, text: str) -> Setting:
    """Read `DEFAULT`, `DEFAULT:MIN:MAX` or `DEFAULT{a,b,c}`; ParameterError says what is wrong with it."""
    found = _TYPED.fullmatch(text.strip())
    if found is None:
        raise ParameterError(f"{name}={quoted(text)} is not {_FORMS}")
    default = _value(name, found["default"])
    if found["set"]:
        allowed = tuple(_whole(name, _value(name, each)) for each in found["set"].split(","))
        return Parameter(default=default, allowed=allowed)
    if found["low"]:
        return Parameter(
            default=default, minimum=_value(name, found["low"]), maximum=_value(name, found["high"])
        )
    return default


def _value(name: str, text: str) -> Number:
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return int(text)
    number = number_of(text)
    check_finite(name, text, number)
    return number


def check_finite(name: str, text: str, number: float) -> None:
    """Raise `ParameterError` for what is no finite number."""
    if not abs(number) < float("inf"):
        raise ParameterError(f"{name}={quoted(text)} is not a finite number")
