"""What a daemon remembers of one task: the least that lets it be interrupted and go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from finetuned.service import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterable

KEPT = 2


@dataclass(kw_only=True)
class Recollection:
    """Takes reports of the attempt of the moment, once and in order, as the ledger does; older attempts' change nothing."""

    first: m.TaskSpec
    attempt: int = 1
    checkpoints: list[m.CheckpointRef] = field(default_factory=list)
    adjustments: list[m.Adjustment] = field(default_factory=list)
    last: m.Report | None = None
    _seq: int = 0

    def __post_init__(self) -> None:
        """Begin with the adjustments of the spec."""
        self.adjustments += self.first.adjustments

    @property
    def spec(self) -> m.TaskSpec:
        """The spec for the next attempt."""
        return msgspec.structs.replace(self.first, adjustments=tuple(self.adjustments))

    @property
    def start(self) -> m.Start:
        """What the present attempt begins with."""
        return m.Start(spec=self.spec, attempt=self.attempt, resume_from=tuple(self.checkpoints))

    def again(self) -> None:
        """Let the next attempt begin."""
        self.attempt, self._seq, self.last = self.attempt + 1, 0, None

    def ask(self, learning_rate: float) -> None:
        """Note that somebody wants another learning rate."""
        self.adjustments.append(m.Adjustment(learning_rate=learning_rate))

    def take_all(self, reports: Iterable[m.Report]) -> None:
        """Take what an attempt said."""
        for report in reports:
            self.take(report)

    def take(self, report: m.Report) -> None:
        """Take a report, unless it is late, comes twice, or is another attempt's."""
        if report.attempt != self.attempt or report.seq <= self._seq or self.last is not None:
            return
        self._seq = report.seq
        if isinstance(report, m.LAST):
            self.last = report
        elif isinstance(report, m.Checkpointed) and report.checkpoint is not None:
            self.checkpoints = [report.checkpoint, *self.checkpoints][:KEPT]
        elif isinstance(report, m.Adjusted):
            index = next(index for index, each in enumerate(self.adjustments) if each.step is None)
            self.adjustments[index] = msgspec.structs.replace(self.adjustments[index], step=report.step)
