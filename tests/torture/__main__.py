"""`python -m torture`: random faults over real tasks, and after each of them everything must be true (docs/torture.md)."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from random import SystemRandom

from torture.campaign import ROUNDS, Campaign, Round
from torture.faults import KINDS

GIGABYTE = 2**30
HOUSE_BYTES = 1.5 * GIGABYTE


def main() -> int:
    """Run a campaign; 0 where nothing was wrong."""
    asked = _asked()
    folder = Path(tempfile.mkdtemp(prefix="finetuned-torture-")) if asked.folder is None else asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    campaign = Campaign(seed=asked.seed, folder=folder, tell=_tell, tmpfs=_may_mount(folder))
    _tell(
        f"seed {asked.seed}; {folder}"
        + ("" if campaign.tmpfs else "; no small disks, since only root may mount them")
    )
    if asked.house is None:
        campaign.run(asked.faults, asked.lanes)
    else:
        campaign.measure()
        kinds = [kind for kind in KINDS if asked.kind is None or asked.kind in kind.name]
        campaign.house(asked.house, ROUNDS, kinds)
    _summary(campaign, time.monotonic() - began)
    return 1 if campaign.failed else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=SystemRandom().randrange(10**6), help="what the dice are thrown from"
    )
    parser.add_argument("--faults", type=int, default=300, help="how many must strike")
    parser.add_argument("--lanes", type=int, default=_lanes(), help="houses at a time")
    parser.add_argument("--house", type=int, help="only this house, to see its rounds again")
    parser.add_argument("--kind", help="only faults of this kind (part of its name), with --house")
    parser.add_argument("--folder", type=Path, help="where houses are built; one that fails stays")
    return parser.parse_args()


def _lanes() -> int:
    """Two houses at a time, where there are cores and memory for both."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2 if free > 2 * HOUSE_BYTES and (os.cpu_count() or 1) > 1 else 1


def _may_mount(folder: Path) -> bool:
    """Try whether a small disk can be had here."""
    trial = folder / "trial"
    trial.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "trial", trial], check=False, capture_output=True
        )
        if done.returncode == 0:
            subprocess.run(["umount", trial], check=True)
        return done.returncode == 0
    finally:
        trial.rmdir()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _summary(campaign: Campaign, seconds: float) -> None:
    by_kind: defaultdict[str, list[Round]] = defaultdict(list)
    for done in campaign.rounds:
        by_kind[done.kind].append(done)
    _tell(f"\n{'fault':28} {'rounds':>6} {'struck':>6} {'failed':>6} {'seconds':>8}")
    for kind, rounds in sorted(by_kind.items()):
        struck, failed = sum(each.struck for each in rounds), sum(bool(each.failures) for each in rounds)
        _tell(
            f"{kind:28} {len(rounds):6} {struck:6} {failed:6} {sum(each.seconds for each in rounds) / len(rounds):8.1f}"
        )
    tally = campaign.tally
    _tell(
        f"\n{campaign.struck} faults in {len(campaign.rounds)} rounds, {len(campaign.failed)} failed; {seconds / 60:.1f} min, "
        f"seed {campaign.seed}\n{tally.compared} versions have the bytes of an undisturbed run, "
        f"{tally.not_comparable} could not be compared"
    )


if __name__ == "__main__":
    sys.exit(main())
