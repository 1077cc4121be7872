"""The duty cycle: how long a worker rests for what it has worked.

Theory of operation.  Work makes a debt of rest: w seconds at the duty d make w (1/d - 1).  It is paid in sleeps of some
milliseconds, since a shorter one costs more than it saves and lasts as long as the kernel pleases: so a mini-batch of
0.1 ms makes no sleep of its own, and one of a second makes one of seconds.  A sleep that was too long is work that may be
done without a rest.  Whoever has a hold behind it owes nothing.

Work is the processor's time, and no more than passed.  What passes while a machine stands still, a debugger looks or others
have the processor makes no debt; nor does a second thread, which the duty slows as well as the first.  An accelerator works
while the process waits for it: there, all that passes is work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WORTH_S = 0.02
"""A shorter rest waits until it has grown."""
CREDIT_S = 0.25
"""So much rest at most is had in advance: a machine that stood still for an hour does not work off an hour."""
LEAST_DUTY = 0.01


class Duty:
    """What is owed; each of its verbs says what was done since the last of them.

    Both clocks are in seconds: `clock` shows the time, `processor` how much of it this process has had the processor.
    """

    def __init__(self, clock: Callable[[], float], processor: Callable[[], float]) -> None:
        self.share = 1.0
        self._clocks = (clock, processor)
        self._owed_s = 0.0
        self._since = (clock(), processor())

    def set(self, share: float) -> None:
        """Work so much of the time from now on; what is owed already gets less by that, never more."""
        share = min(max(share, LEAST_DUTY), 1.0)
        if self._owed_s > 0 and share > self.share:
            self._owed_s *= (1 / share - 1) / (1 / self.share - 1)
        self.share = share

    def worked(self, *, on_cpu: bool = True) -> None:
        """It was work, on the CPU or on an accelerator."""
        passed_s, computed_s = self._passed()
        self._owed_s += (min(passed_s, computed_s) if on_cpu else passed_s) * (1 / self.share - 1)

    def rested(self) -> None:
        """It was rest."""
        self._owed_s = max(self._owed_s - self._passed()[0], -CREDIT_S)

    def begin(self) -> None:
        """It was neither, and nothing is owed."""
        self._passed()
        self._owed_s = 0.0

    @property
    def rest_s(self) -> float:
        """How long to rest now."""
        return self._owed_s if self._owed_s >= WORTH_S else 0.0

    def _passed(self) -> tuple[float, float]:
        since, self._since = self._since, (self._clocks[0](), self._clocks[1]())
        return self._since[0] - since[0], self._since[1] - since[1]
