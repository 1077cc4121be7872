"""What a row of the validator's tables holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finetuned.spec import check, codec
from finetuned.spec import coreml_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetuned.spec.check import Reason

Apple = Literal["refuses", "accepts", "dies", "cannot train it"]
"""What Apple's validator does with it, from its sources and COREML.md's measurements.

`dies`: it reads past a list; `cannot train it`: it accepts what Apple's own tools or run time then refuse.  Where it
accepts, finetuned is stricter.  coremltools brings the validator on macOS only, so it cannot be asked here.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """`change` breaks one rule of a valid model (`besides` follow from it); the reason names `layer` and says all of `words`."""

    rule: str
    change: Callable[[pb.Model], object]
    words: tuple[str, ...]
    layer: str = ""
    apple: Apple = "refuses"
    besides: tuple[str, ...] = ()


def reasons(model: pb.Model) -> tuple[Reason, ...]:
    """Return what is said against the model."""
    return check.reasons(codec.decode(model.SerializeToString(deterministic=True)))


def judge(model: pb.Model, row: Row) -> None:
    """Break the model: the row's rule is broken and no other, its message says what and where, and all may be printed."""
    assert reasons(model) == ()
    row.change(model)
    found = reasons(model)
    assert {reason.rule for reason in found} == {row.rule, *row.besides}, found
    of_rule = [reason for reason in found if reason.rule == row.rule]
    assert row.layer in {reason.layer for reason in of_rule}
    said = " ".join(reason.message for reason in of_rule)
    assert [word for word in row.words if word not in said] == [], said
    assert all(reason.remedy and reason.message.isprintable() for reason in found)


def assign(message: object, **fields: object) -> None:
    """Set fields of a message, in an expression."""
    for name, value in fields.items():
        setattr(message, name, value)
