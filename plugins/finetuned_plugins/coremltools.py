"""Apple's coremltools, where it is installed (`finetuned[author]`): a second opinion on a model file.

It is asked in a process of its own: it is large, it talks, and it brings libraries along that nobody asked for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec

from finetuned import HostError, Opinion, hookimpl

if TYPE_CHECKING:
    from finetuned import SecondOpinion

MODULE = "finetuned_plugins.coremltools_child"
DEADLINE_S = 300.0  # for 512 MiB on a slow machine; most files take a second or two
MOST_SAID = 300  # characters of what a process said before it died
QUIET = {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coremltools:
    """The second opinion of `check --with-coremltools`."""

    name: str = "coremltools"
    deadline_s: float = DEADLINE_S

    def judge(self, data: bytes) -> Opinion:
        """Ask coremltools in a process of its own; HostError where that ends without an answer."""
        try:
            done = subprocess.run(  # noqa: S603 - this interpreter, and a module of ours
                [sys.executable, "-P", "-m", MODULE],
                input=data,
                capture_output=True,
                env=os.environ | QUIET,
                timeout=self.deadline_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HostError(f"coremltools has not answered within {self.deadline_s:g} s") from error
        if done.returncode:
            raise HostError(f"coremltools gave no answer: {_last_words(done)}")
        return msgspec.json.decode(done.stdout, type=Opinion)


@hookimpl
def finetuned_opinions() -> list[SecondOpinion]:
    """Bring coremltools' opinion, where coremltools is installed; looking for it imports nothing."""
    return [Coremltools()] if find_spec("coremltools") else []


def _last_words(done: subprocess.CompletedProcess[bytes]) -> str:
    """Say how the process ended; what a stranger's file made it say is one line, without what troubles a terminal."""
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    shown = "".join(letter for letter in lines[-1] if letter.isprintable()) if lines else ""
    return f"its process ended with status {done.returncode}" + (f" ({shown[:MOST_SAID]})" if shown else "")
