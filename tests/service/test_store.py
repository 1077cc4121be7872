"""The state folder: its names, its lock, and what a crash leaves of a save."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from finetuned import files
from finetuned.errors import HostError, RequestError
from finetuned.service.ledger import opened
from finetuned.service.ledger_samples import list_samples
from finetuned.service.ledger_tasks import alive_tasks, get_task, interrupted
from finetuned.service.ledger_versions import list_current, list_dropped, list_versions
from finetuned.service.names import folder_name, model_name, user_name
from finetuned.service.store import Store, make_inbox
from finetuned.states import TaskState
from ledgers import NODE, a_task, a_version, moment, outcomes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from finetuned.service.ledger_versions import VersionRow

CHILD = Path(__file__).with_name("store_child.py")
HOSTILE = (
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "../up",
    "/etc",
    "nul\0",
    "new\nline",
    "\x1b[31m",
    "\udcff",
    "a" * 121,
)
FRIENDLY = ("rock", "✊", "✌️", "tench, Tinca tinca", "日本", "a b", "a" * 120, "v1.2")


def a_store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "state")
    store.prepare()
    return store


def a_result(store: Store, content: bytes = b"weights") -> Path:
    result = store.task("T") / "result.mlmodel"
    files.make_folder(result.parent)
    result.write_bytes(content)
    return result


def with_version(store: Store, version: int = 1, content: bytes = b"weights", task: str = "T") -> Path:
    card = json.dumps({"task": task})
    return store.save_version("gestures", "", version, result=a_result(store, content), card=card)


def repaired(  # noqa: PLR0913 - the ledger's word on everything
    store: Store,
    *,
    versions: Sequence[VersionRow] = (),
    current: Sequence[VersionRow] = (),
    dropped: Sequence[VersionRow] = (),
    alive: Collection[str] = (),
    checkpoints: Collection[Path] = (),
) -> tuple[str, ...]:
    """Repair, with a ledger that knows nothing but what is said here."""
    return store.repair(
        versions=versions, current=current, dropped=dropped, alive=alive, checkpoints=checkpoints
    )


# ── names ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_name_that_could_leave_its_place_is_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    with pytest.raises(RequestError, match="may be 1 to 120 bytes"):
        folder_name(name)
    with pytest.raises(RequestError, match="model's name"):
        store.base(name)
    if name:  # no user is no name
        with pytest.raises(RequestError, match="user's name"):
            store.user_folder("gestures", name)


@pytest.mark.parametrize("name", FRIENDLY)
def test_names_in_any_script_are_folders_below_the_state_folder(tmp_path: Path, name: str) -> None:
    assert folder_name(name) == name
    assert Store(tmp_path).user_folder(name, name) == tmp_path / "models" / name / name


@pytest.mark.parametrize("name", ["_", "base.mlmodel", "anna+", "#"])
def test_a_user_may_not_take_what_the_store_or_a_topic_means_otherwise(name: str) -> None:
    with pytest.raises(RequestError):
        user_name(name)


@pytest.mark.parametrize("name", ["a+b", "#1"])
def test_a_model_may_not_be_named_like_a_wildcard(name: str) -> None:
    with pytest.raises(RequestError, match=r"neither \+ nor #"):
        model_name(name)


def test_a_sample_is_kept_under_its_label_by_the_first_of_its_digest_and_its_name() -> None:
    path = Store(Path("/s")).sample_path(
        model="gestures", user="", label="✊", digest="0123456789abcdef", name="1.jpg"
    )
    assert path == "models/gestures/_/samples/✊/0123456789ab-1.jpg"


def test_a_sample_with_the_longest_or_an_unprintable_name_still_has_one_that_a_folder_can_hold(
    tmp_path: Path,
) -> None:
    for name in ("✊" * 83 + ".jpeg", "b\udcffad\n.jpeg"):
        path = Store(tmp_path).sample_path(model="g", user="", label="l", digest="0" * 64, name=name)
        files.make_folder((tmp_path / path).parent)
        (tmp_path / path).write_bytes(b"")
        assert path.endswith(".jpeg")


# ── folders, lock, instance ─────────────────────────────────────────────────────────────────────
def test_the_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.add_model("gestures", b"base")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [store.root, *store.root.rglob("*")]}
    assert set(modes.values()) == {0o700, 0o444}
    assert [path for path, mode in modes.items() if mode == 0o444] == [store.base("gestures")]
    assert modes[store.models / "gestures"] == 0o700


def test_a_second_daemon_is_told_who_has_the_state_folder_until_it_is_free(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    with (
        store.lock(),
        pytest.raises(HostError, match=rf"state is already in use by pid {os.getpid()}$"),
        store.lock(),
    ):
        pass
    with store.lock():
        pass


def test_a_dead_daemons_lock_holds_nobody_up(tmp_path: Path) -> None:
    code = "import sys, os, pathlib; from finetuned.service.store import Store\nwith Store(pathlib.Path(sys.argv[1])).lock(): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    with Store(tmp_path).lock():
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_instance_is_made_once(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    made = store.instance()
    assert int(made, 16) < 0x10000
    assert len(made) == 4
    assert store.instance() == made


def test_the_secret_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.secret()
    assert store.secret() == made
    assert len(made) == 32
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "secret").write_bytes(made[:5])
    assert len(store.secret()) == 32


def test_an_inbox_has_a_folder_for_every_label_that_can_be_one(tmp_path: Path) -> None:
    folder = make_inbox(tmp_path / "inbox", "gestures", ["✊", "either/or", "✋"])
    assert sorted(path.name for path in folder.iterdir()) == ["✊", "✋"]


# ── files and versions ──────────────────────────────────────────────────────────────────────────
def test_a_digest_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert files.sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = a_store(tmp_path)
    store.add_model("gestures", b"old")
    result = a_result(store)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"base\.mlmodel failed: the disk is full: free some space"):
        store.add_model("gestures", b"new")
    with pytest.raises(HostError, match="the disk is full"):
        store.save_version("gestures", "", 1, result=result, card="{}")
    assert store.base("gestures").read_bytes() == b"old"
    assert not store.version("gestures", "", 1).exists()


def test_a_saved_version_holds_model_and_card_and_is_never_written_again(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    files.make_folder(store.versions("gestures", "") / ".1.tmp" / "left by a crash")
    folder = with_version(store, content=b"first")
    with pytest.raises(HostError, match="is there already"):
        with_version(store, content=b"second")
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.mlmodel"]
    assert store.model_file("gestures", "", 1).read_bytes() == b"first"
    assert stat.S_IMODE(store.model_file("gestures", "", 1).stat().st_mode) == 0o444


def test_current_is_swapped_in_one_step_and_the_base_has_no_link(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with_version(store, 1, b"one")
    with_version(store, 2, b"two")
    for version, content in ((1, b"one"), (2, b"two")):
        store.set_current("gestures", "", version)
        assert (store.current("gestures", "") / "model.mlmodel").read_bytes() == content
    assert store.current("gestures", "").readlink() == Path("versions/2")
    store.set_current("gestures", "", 0)
    assert not store.current("gestures", "").is_symlink()
    assert store.model_file("gestures", "", 0) == store.base("gestures")


# ── repair ──────────────────────────────────────────────────────────────────────────────────────
def test_repair_follows_the_ledger_and_spares_what_it_knows(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    known = a_version(a_task(), 1)
    for version in (1, 2):
        with_version(store, version)
    store.set_current("gestures", "", 2)
    for stray in (
        store.incoming / "half.jpg",
        store.task("ended") / "spec.json",
        store.versions("gestures", "") / ".3.tmp" / "card.json",
    ):
        files.make_folder(stray.parent)
        stray.write_bytes(b"")
    done = repaired(store, versions=[known], current=[known], alive=["T"])
    assert sorted(done) == [
        "current of gestures is version 1 again",
        "removed models/gestures/_/versions/.3.tmp",
        "removed models/gestures/_/versions/2",
        "removed tasks/ended",
    ]
    assert [path.name for path in store.versions("gestures", "").iterdir()] == ["1"]
    assert list(store.incoming.iterdir()) == []
    assert store.task("T").is_dir()
    assert repaired(store, versions=[known], current=[known], alive=["T"]) == ()


def test_a_version_that_an_old_ledger_does_not_know_is_set_aside_and_kept(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with_version(store, 7, b"weeks of learning", task="long ended")
    told = repaired(store)
    assert any("the ledger does not know models/gestures/_/versions/7" in sentence for sentence in told)
    (kept,) = store.versions("gestures", "").iterdir()
    assert (kept / "model.mlmodel").read_bytes() == b"weeks of learning"
    assert repaired(store) == ()
    with_version(store, 7)


def test_repair_removes_a_link_where_the_base_is_in_use(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with_version(store)
    store.set_current("gestures", "", 1)
    repaired(store, versions=[a_version(a_task(), 1)])
    assert not store.current("gestures", "").is_symlink()


def test_repair_stops_where_a_version_of_the_ledger_is_gone(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="restore it from a backup"):
        repaired(a_store(tmp_path), versions=[a_version(a_task(), 1)])


def test_of_a_living_tasks_folder_repair_keeps_the_spec_and_the_checkpoints_that_the_ledger_knows(
    tmp_path: Path,
) -> None:
    store = a_store(tmp_path)
    folder = store.task("T")
    names = ("spec.json", ".spec.json.tmp", "1/1.checkpoint", "1/2.checkpoint", "2/.3.checkpoint.tmp")
    for name in (*names, "2/result.mlmodel", "3/4.checkpoint", "3/deep/er.tmp"):
        files.make_folder((folder / name).parent)
        (folder / name).write_bytes(b"")
    (folder / "4").symlink_to("1")
    known = {folder / "1/2.checkpoint", folder / "3/4.checkpoint"}
    told = repaired(store, alive=["T"], checkpoints=known)
    assert {path for path in folder.rglob("*") if not path.is_dir()} == {folder / "spec.json", *known}
    assert sorted(path.name for path in folder.iterdir()) == ["1", "3", "spec.json"]
    assert "removed tasks/T/2" in told
    assert repaired(store, alive=["T"], checkpoints=known) == ()


def test_repair_ends_what_a_crash_left_of_a_dropped_version(tmp_path: Path) -> None:
    store, row = a_store(tmp_path), a_version(a_task(), 1)
    with_version(store)
    for _ in range(2):  # the second time there is nothing to be removed
        repaired(store, dropped=[row])
        assert list(store.versions("gestures", "").iterdir()) == []


# ── crashes ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class AfterRestart:
    """What a restarted daemon finds after its repair."""

    state: TaskState
    ends: int
    versions: list[str]
    current: bytes
    strays: list[str]


def restarted(store: Store) -> AfterRestart:
    with opened(store.ledger) as db:
        interrupted(db, moment=moment(200), node=NODE)
        alive = [task.id for task in alive_tasks(db)]
        repaired(
            store,
            versions=list_versions(db),
            current=list_current(db),
            dropped=list_dropped(db),
            alive=alive,
        )
        return AfterRestart(
            state=get_task(db, a_task(2).id).state,
            ends=outcomes_of(db).count("completed"),
            versions=sorted(path.name for path in store.versions("gestures", "").iterdir()),
            current=(store.current("gestures", "") / "model.mlmodel").read_bytes(),
            strays=[path.name for path in store.root.rglob("*.tmp")],
        )


def test_a_crash_at_any_step_of_a_save_leaves_all_of_it_or_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(CHILD), "save", str(tmp_path)], check=True)
    found = [
        restarted(Store(tmp_path / str(number))) for number in range(1, len(list(tmp_path.iterdir())) + 1)
    ]
    nothing = AfterRestart(state=TaskState.suspended, ends=1, versions=["1"], current=b"version 1", strays=[])
    everything = AfterRestart(
        state=TaskState.completed, ends=2, versions=["1", "2"], current=b"version 2", strays=[]
    )
    saved = found.index(everything)
    assert found == [nothing] * saved + [everything] * (len(found) - saved)
    assert saved > 8, "the steps before the commit were counted"
    assert len(found) - saved > 3, "the steps after the commit were counted"


def test_a_crash_at_any_step_of_an_acceptance_neither_loses_the_sample_nor_tells_of_it_twice(
    tmp_path: Path,
) -> None:
    subprocess.run([sys.executable, str(CHILD), "accept", str(tmp_path)], check=True)
    roots = sorted(tmp_path.iterdir())
    assert len(roots) > 6
    subprocess.run([sys.executable, str(CHILD), "finish", *map(str, roots)], check=True)
    for root in roots:
        store = Store(root)
        with opened(store.ledger) as db:
            repaired(store)
            (sample,) = list_samples(db, "gestures", "")
            assert outcomes_of(db) == ["sampleAccepted"]
        assert (root / sample.path).read_bytes() == b"a picture"
        assert [path for path in (*store.inbox.iterdir(), *store.incoming.iterdir()) if path.is_file()] == []
