"""The programs of an update as sessions, all of them on one device, from which they can move between two runs.

What is computed with lies in NumPy's memory, so that nothing but sessions and bindings is made anew.  The device is asked for
(`accelerate`) or left since it fails; one that has failed is not tried again.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from finetuned.update.devices import CPU, choose, in_words
from finetuned.update.session import DeviceError, Session, available

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from finetuned.graph.program import Program
    from finetuned.update.devices import Choice
    from finetuned.update.features import Array
    from finetuned.update.session import Bound

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """From here on it is computed on `device`; `why` tells what is wrong with one that is wanted more."""

    device: str
    why: str = ""


class Sessions:
    """Runs programs by name.

    Args:
        programs: what can be run.
        devices: where to compute, the most wanted first.
        threads: threads of one run.
        accelerated: False: on the CPU, whatever is wanted.

    `device` is where they are: "" where the last move failed, and then the next that is asked of them tries it again.

    Raises:
        HostError: there is no memory for them.
        ModelError: not even the CPU can run a program.
    """

    def __init__(
        self,
        programs: Mapping[str, Program],
        *,
        devices: Sequence[str] = (CPU,),
        threads: int = 1,
        accelerated: bool = True,
    ) -> None:
        self.device = self._left = ""
        self._programs = dict(programs)
        self._devices = tuple(devices)
        self._threads = threads
        self._accelerated = accelerated
        self._sessions: dict[str, Session] = {}
        self._bindings: WeakSet[Binding] = WeakSet()
        self._failed: dict[str, str] = {}
        self._told: set[str] = set()
        self._news: list[Move] = []
        self._settle()

    def accelerate(self, *, accelerated: bool) -> None:
        """Compute where it is wanted from now on, or on the CPU."""
        self._accelerated = accelerated
        self._settle()

    def news(self) -> list[Move]:
        """Return what has not been told yet: moves, and what is wrong with a wanted device (once for each)."""
        news, self._news = self._news, []
        return news

    # ── running ─────────────────────────────────────────────────────────────────────────────────
    def run(self, name: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run a program once; arrays in, arrays out.  Where the device fails it is left, and this is run elsewhere."""
        return self.tried(lambda: self._sessions[name].run(feeds))

    def bind(self, name: str, feeds: Mapping[str, Array], results: Mapping[str, Array]) -> Binding:
        """Bind a program to memory, wherever it is computed."""
        binding = Binding(self, name, feeds, results)
        self._bindings.add(binding)
        return binding

    def bound(self, name: str, feeds: Mapping[str, Array], results: Mapping[str, Array]) -> Bound:
        """Bind a program to memory on the device of this moment."""
        return self._sessions[name].bind(feeds, results)

    def tried(self, compute: Callable[[], T]) -> T:
        """Compute, on the next device where this one fails; the CPU's own errors are final."""
        while True:
            if not self._sessions:
                self._settle()
            try:
                return compute()
            except DeviceError as error:
                self._failed[self.device] = str(error)
            self._settle()

    # ── moving ──────────────────────────────────────────────────────────────────────────────────
    def _settle(self) -> None:
        """Move to where it shall be computed now, if that is elsewhere."""
        while (choice := self._choice()).device != self.device:
            self._let_go()
            try:
                self._sessions = self._made(choice.device)
            except DeviceError as error:
                self._failed[choice.device] = str(error)
            else:
                self.device = choice.device
        untold = {device: why for device, why in choice.passed.items() if device not in self._told}
        self._told.update(untold)
        if untold or self._left not in ("", self.device):
            self._news.append(Move(device=self.device, why=in_words(untold)))
        self._left = self.device

    def _choice(self) -> Choice:
        return choose(self._devices if self._accelerated else (), available(), self._failed)

    def _made(self, device: str) -> dict[str, Session]:
        return {
            name: Session(program, threads=self._threads, device=device)
            for name, program in self._programs.items()
        }

    def _let_go(self) -> None:
        """Give the device's memory back before another is used: what holds it hangs together in circles."""
        if not self._sessions:
            return
        self.device, self._sessions = "", {}
        for binding in self._bindings:
            binding.let_go()
        gc.collect()


class Binding:
    """A program bound to memory; it follows when its sessions move."""

    def __init__(
        self, home: Sessions, name: str, feeds: Mapping[str, Array], results: Mapping[str, Array]
    ) -> None:
        self._home = home
        self._name, self._feeds, self._results = name, feeds, results
        self._bound: Bound | None = None

    def run(self) -> None:
        """Run on the bound memory."""
        self._home.tried(self._run)

    def let_go(self) -> None:
        """Forget the session; the next run binds to that of the moment."""
        self._bound = None

    def _run(self) -> None:
        if self._bound is None:
            self._bound = self._home.bound(self._name, self._feeds, self._results)
        self._bound.run()
