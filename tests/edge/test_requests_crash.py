"""A request that comes again after a crash is obeyed once, or not at all, and the answer never says what is not so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edge.requests_child import PAIR, ask
from finetuned.edge.requests import UNKNOWN
from finetuned.service.ledger import opened
from finetuned.service.ledger_requests import recall
from finetuned.service.ledger_versions import version_in_use
from finetuned.service.store import Store

CHILD = Path(__file__).with_name("requests_child.py")
ONCE, NEVER = 2, 3
"""The version in use, depending on how often it was rolled back; twice would lead to 1."""


def test_a_rollback_that_is_repeated_after_a_crash_at_any_step_is_done_at_most_once(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(CHILD), str(tmp_path)], check=True)
    found = []
    for number in range(1, len(list(tmp_path.iterdir())) + 1):
        with opened(Store(tmp_path / str(number)).ledger) as db:
            begun, crashed_at = recall(db, "a") is not None, version_in_use(db, *PAIR)
            answers = [json.loads(ask(db)) for _ in range(2)]
            assert answers[0] == answers[1]
            found.append((begun, crashed_at, version_in_use(db, *PAIR), answers[0].get("error", "")))
    assert list(dict.fromkeys(found)) == [
        (False, NEVER, ONCE, ""),  # it never came: now it is obeyed
        (True, NEVER, NEVER, UNKNOWN),
        (True, ONCE, ONCE, UNKNOWN),
        (True, ONCE, ONCE, ""),  # the answer was kept
    ]
