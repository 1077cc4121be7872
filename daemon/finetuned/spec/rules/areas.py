"""Rules for what comes in and goes out of a layer: channels, groups, heights and widths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetuned.spec import windows
from finetuned.spec.model import Convolution, InnerProduct, Pooling
from finetuned.spec.names import quoted
from finetuned.spec.rules import extents
from finetuned.spec.rules.case import Reason
from finetuned.spec.rules.extents import Extent
from finetuned.spec.rules.interface import MOST_NUMBERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from finetuned.spec.model import Layer
    from finetuned.spec.rules.case import Case


def channels(case: Case) -> Iterator[Reason]:
    """A layer takes as many channels as the one before it makes."""
    if case.network.exact_shapes:
        return  # there the channel axis depends on the rank, which the compiler knows
    for layer in case.network.layers:
        before = case.extents.get(layer.inputs[0]) if layer.inputs else None
        match layer.parameters:
            case InnerProduct(input_channels=needed):
                found = before.size if before else None
            case Convolution(deconvolution=False, groups=groups, kernel_channels=each):
                needed, found = groups * each, before.channels if before else None
            case Convolution(kernel_channels=needed):
                found = before.channels if before else None
            case _:
                continue
        if found is not None and found != needed:
            yield _channel_reason(layer, f"takes {needed} channels, and gets {found}")


def groups(case: Case) -> Iterator[Reason]:
    """A convolution's groups share its channels evenly."""
    for layer in case.network.layers:
        match layer.parameters:
            case Convolution(output_channels=outputs, groups=count) if outputs % count:
                yield _channel_reason(layer, f"cannot share {outputs} output channels among {count} groups")
            case Convolution(deconvolution=True, kernel_channels=inputs, groups=count) if inputs % count:
                yield _channel_reason(layer, f"cannot share {inputs} input channels among {count} groups")


def areas(case: Case) -> Iterator[Reason]:
    """A kernel fits on what arrives, a deconvolution's output shape is one that it can make, and no blob is beyond bounds."""
    if case.network.exact_shapes:
        return
    for layer in case.network.layers:
        before = case.extents.get(layer.inputs[0], Extent()) if layer.inputs else Extent()
        for what in _area_faults(layer, before):
            yield Reason(
                rule="area",
                layer=layer.name,
                message=f"the layer {quoted(layer.name)} ({layer.type}) {what}",
                remedy="correct its kernel, stride, padding or output shape, or give the input another size",
            )


def _area_faults(layer: Layer, before: Extent) -> Iterator[str]:
    parameters, after = layer.parameters, extents.after(layer, before)
    if after.size is not None and after.size > MOST_NUMBERS:
        yield f"makes {after.size} numbers of a sample; {MOST_NUMBERS} are the most that finetuned runs"
    if not isinstance(parameters, Convolution | Pooling) or before.area is None:
        return
    made = extents.area(parameters, before.area)
    if made is not None and min(made) < 1:
        yield f"does not fit: its kernel reaches over {_spans(parameters)}, and what arrives is {_times(before.area)}"
    elif isinstance(parameters, Pooling) and extents.is_beside(parameters, before.area):
        yield "has a window that lies in the padding altogether; the format does not say what comes out"
    if isinstance(parameters, Convolution) and parameters.deconvolution and parameters.output_shape:
        most = extents.most_spread(parameters, before.area)
        if any(wanted > limit for wanted, limit in zip(parameters.output_shape, most, strict=True)):
            yield (
                f"cannot make its output shape {_times(parameters.output_shape)} of {_times(before.area)}: "
                f"{_times(most)} is the most"
            )


def _spans(parameters: Convolution | Pooling) -> str:
    return _times((windows.span(parameters, 0), windows.span(parameters, 1)))


def _times(pair: tuple[int, ...]) -> str:
    return f"{pair[0]} × {pair[1]}"


def _channel_reason(layer: Layer, what: str) -> Reason:
    return Reason(
        rule="channels",
        layer=layer.name,
        message=f"the layer {quoted(layer.name)} {what}",
        remedy="export the model again; the file contradicts itself",
    )
