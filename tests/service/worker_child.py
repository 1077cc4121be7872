"""A worker for tests that does what the name of its task says, instead of the task."""

from __future__ import annotations

import os
import signal
import sys
import time

from finetuned.service.channel import SyncChannel
from finetuned.service.messages import Cancelled, Command, Heartbeat, Report, Start


def main() -> None:
    """Misbehave once."""
    channel: SyncChannel[Command] = SyncChannel.inherited(Command)
    command = channel.receive()
    if isinstance(command, Start):
        misbehave(channel, command.spec.task, command.attempt)
    time.sleep(3600)


def misbehave(channel: SyncChannel[Command], task: str, attempt: int) -> None:
    """Do what the task is named for; say something proper before."""

    def say(report: Report) -> None:
        channel.send(report)

    say(Heartbeat(task=task, attempt=attempt, seq=1, step=5))
    match task:
        case "dies":
            sys.stderr.write("Traceback (most recent call last):\nValueError: there is no such thing\n")
            sys.exit(3)
        case "is-taken":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "stops":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "babbles":
            os.write(int(sys.argv[1]), b'{"type":"nonsense"}\n')
        case "counts-wrong":
            say(Heartbeat(task=task, attempt=attempt, seq=3))
        case "is-another":
            say(Cancelled(task="U", attempt=attempt, seq=2))


if __name__ == "__main__":
    main()
