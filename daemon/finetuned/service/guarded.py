"""An executor as the daemon may rely on it: whatever goes wrong in it is the machine's fault, in words."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from finetuned.errors import FinetunedError, HostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from finetuned.service.executor import Capabilities, Executor
    from finetuned.service.messages import CheckpointRef, Control, Report, TaskSpec


class Guarded:
    """Passes everything on; an executor may be anybody's code, and what it raises ends no daemon."""

    def __init__(self, executor: Executor) -> None:
        """Guard it."""
        self._executor = executor

    @property
    def name(self) -> str:
        """As the executor's within."""
        return self._executor.name

    @property
    def capabilities(self) -> Capabilities:
        """As the executor's within."""
        with self._blamed("telling what it can do"):
            return self._executor.capabilities

    async def submit(self, spec: TaskSpec, attempt: int, resume_from: Sequence[CheckpointRef] = ()) -> None:
        """Pass it on."""
        with self._blamed("starting an attempt"):
            await self._executor.submit(spec, attempt, resume_from)

    async def control(self, task: str, attempt: int, command: Control) -> None:
        """Pass it on."""
        with self._blamed("controlling an attempt"):
            await self._executor.control(task, attempt, command)

    async def events(self) -> AsyncIterator[Report]:
        """Pass it on; HostError where it fails, or ends by itself."""
        with self._blamed("telling what happens"):
            async for report in self._executor.events():
                yield report
        raise HostError(f"the executor {self.name} tells nothing any more")

    async def drain(self, grace_s: float) -> None:
        """Pass it on."""
        with self._blamed("letting go"):
            await self._executor.drain(grace_s)

    async def close(self) -> None:
        """Pass it on."""
        with self._blamed("closing"):
            await self._executor.close()

    @contextmanager
    def _blamed(self, doing: str) -> Iterator[None]:
        try:
            yield
        except FinetunedError:
            raise
        except Exception as error:
            raise HostError(
                f"the executor {self.name} failed in {doing}: {type(error).__name__}: {error}"
            ) from error
