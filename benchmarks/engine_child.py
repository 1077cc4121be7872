"""One contender in a process of its own: it is told what to train, shows its first losses, then makes bursts when asked.

Standard input and output are lines of JSON; whoever imports this pays for nothing that its contender does not use.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine_contenders import Contender

CONTENDERS = {
    "finetuned": ("engine_contenders", "Finetuned"),
    "products": ("engine_contenders", "Products"),
    "onnx-ad": ("engine_contenders", "OnnxAd"),
    "eager": ("engine_torch", "eager"),
    "best": ("engine_torch", "best"),
    "executorch": ("engine_torch", "ExecuTorch"),
    "features: finetuned": ("engine_frozen", "finetuned"),
    "features: onnxruntime": ("engine_frozen", "raw"),
    "features: onnxruntime, spinning": ("engine_frozen", "spinning"),
    "features: eager": ("engine_frozen", "eager"),
    "features: best": ("engine_frozen", "best"),
}


def made(name: str, arguments: dict[str, Any]) -> Contender:
    """Make a contender."""
    from engine_models import Setting  # noqa: PLC0415 - NumPy comes with it, and it shall see the threads

    module, maker = CONTENDERS[name]
    found: Contender = getattr(importlib.import_module(module), maker)(Setting(**arguments))
    return found


def burst(contender: Contender, steps: int) -> float:
    """Train from the file's weights on; return the seconds."""
    contender.reset()
    began = time.perf_counter()
    contender.run(steps)
    return time.perf_counter() - began


def calibrated(contender: Contender, seconds: float) -> int:
    """Return how many steps take about so long."""
    steps, spent = 1, 0.0
    while (spent := burst(contender, steps)) < seconds / 4:
        steps = max(2 * steps, min(16 * steps, int(steps * seconds / 2 / max(spent, 1e-6))))
    return max(1, ceil(steps * seconds / spent))


def say(**what: object) -> None:
    """Write a line."""
    print(json.dumps(what), flush=True)


def serve(name: str, arguments: dict[str, Any], cores: list[int], seconds: float) -> None:
    """Get ready, then answer each line: the first with what there is to compare, every other with a burst."""
    os.sched_setaffinity(0, cores)
    try:
        contender = made(name, arguments)
        say(made=name)
        next(sys.stdin)
        contender.prepare()
        losses = contender.show()
        steps = calibrated(contender, seconds)
    except ModuleNotFoundError as error:
        say(absent=f"{error.name} is not installed")
        return
    except Exception as error:  # noqa: BLE001 - another's library; the table says what it said
        say(absent=f"{type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}")
        return
    say(losses=losses, variant=contender.variant)
    for _ in sys.stdin:
        say(steps=steps, seconds=burst(contender, steps))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    serve(given["contender"], given["setting"], given["cores"], given["seconds"])
