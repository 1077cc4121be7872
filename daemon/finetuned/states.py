"""The life of an update task: Apple's five states, and one table of what may follow what.

Theory of operation.  A task is born `suspended`; why it is suspended is a set of reasons (`queued`,
`user`, `thermal` …) that is no part of this table.  A verb either stands in the table or raises
`StateError` and changes nothing.  `completed` and `failed` are the ends: exactly one of them ends
every task.  A cancelled task ends `failed` with the error `cancelled`, since Apple's `MLTaskState`
has no sixth state; its event says `cancelled`.

The update task of a script (`finetuned.UpdateTask`) and the tasks in the daemon's ledger obey the
same table, so it lives below both.
"""

from __future__ import annotations

from enum import StrEnum

from finetuned.errors import StateError


class TaskState(StrEnum):
    """Apple's `MLTaskState`."""

    suspended = "suspended"
    running = "running"
    cancelling = "cancelling"
    completed = "completed"
    failed = "failed"


class Verb(StrEnum):
    """What can happen to a task."""

    resume = "resume"
    suspend = "suspend"
    cancel = "cancel"
    complete = "complete"
    fail = "fail"


TRANSITIONS: dict[tuple[TaskState, Verb], TaskState] = {
    (TaskState.suspended, Verb.resume): TaskState.running,
    (TaskState.suspended, Verb.cancel): TaskState.cancelling,
    (TaskState.suspended, Verb.fail): TaskState.failed,
    (TaskState.running, Verb.suspend): TaskState.suspended,
    (TaskState.running, Verb.cancel): TaskState.cancelling,
    (TaskState.running, Verb.complete): TaskState.completed,
    (TaskState.running, Verb.fail): TaskState.failed,
    (TaskState.cancelling, Verb.fail): TaskState.failed,
    # The model was already saved when the cancel arrived: what is done is done.
    (TaskState.cancelling, Verb.complete): TaskState.completed,
}

TERMINAL = frozenset({TaskState.completed, TaskState.failed})


def follow(state: TaskState, verb: Verb) -> TaskState:
    """Return the state after `verb`; raise `StateError` where the table has no such row."""
    try:
        return TRANSITIONS[state, verb]
    except KeyError:
        allowed = sorted(str(v) for s, v in TRANSITIONS if s is state)
        rest = f"allowed are: {', '.join(allowed)}" if allowed else "it has ended"
        message = f"a task that is {state} cannot {verb}; {rest}"
        raise StateError(message) from None
