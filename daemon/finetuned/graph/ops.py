"""The primitives, one row each: shape rule, gradient rule, emission.

Names and attributes are ONNX's (operator set 17), so that most rows emit themselves; others are ours.  Gradients are
written in the same primitives.  A row without a gradient ends a path of back-propagation; the compiler says so with the
layer's name.
"""

from __future__ import annotations

from finetuned.graph.primitive import Primitive
from finetuned.graph.primitives import elementwise, images, matrices, positions, shaping

__all__ = ["PRIMITIVES", "Primitive"]

PRIMITIVES: dict[str, Primitive] = {
    **matrices.PRIMITIVES,
    **elementwise.PRIMITIVES,
    **shaping.PRIMITIVES,
    **positions.PRIMITIVES,
    **images.PRIMITIVES,
}
