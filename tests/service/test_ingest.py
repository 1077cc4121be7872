from __future__ import annotations

import errno
import hashlib
import math
import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from finetuned.errors import HostError
from finetuned.service import claim, ingest, journal
from finetuned.service.decoder import Decoders
from finetuned.service.ingest import ensure_inputs
from finetuned.service.inputs import missing_inputs, opened
from finetuned.service.watch import Found
from service.inbox import FAST, MODEL, register, running, taking
from service.samples import GRAY, HandClock, bomb, numbered, png, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from finetuned.service.messages import InputSpec


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_a_dropped_file_becomes_a_sample_and_the_original_goes(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.drop("gestures/rock/0421.png", png())
        await run.emptied()
        (sample,) = await run.samples()
        name = f"gestures/_/samples/rock/{digest(png())[:12]}-0421.png"
        assert (sample.label, sample.name, sample.path) == ("rock", "0421.png", f"models/{name}")
        assert run.kept() == [name]
        assert (run.store.root / sample.path).read_bytes() == png()
        (event,) = await run.told()
        assert {key: event[key] for key in ("type", "model", "label", "name", "node")} == {
            "type": "sampleAccepted",
            "model": MODEL,
            "label": "rock",
            "name": "0421.png",
            "node": "pi-3fa2",
        }
        assert run.heard.accepted_for == [(MODEL, "")]
        assert list(run.store.incoming.iterdir()) == []


async def test_its_decoded_input_is_there_for_the_worker(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.drop("gestures/rock/a.png", png())
        await run.emptied()
        with opened(run.store.inputs(MODEL, "")) as db:
            assert missing_inputs(db, "RGB:3x4x6:stretch", [digest(png())]) == []


async def test_where_the_layout_has_users_each_has_samples_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path, replace(FAST, users=True)) as run:
        for user in ("anna", "bert"):
            run.drop(f"gestures/{user}/rock/deeper/still/a.png", png())
        await run.emptied()
        assert [len(await run.samples(user)) for user in ("anna", "bert", "")] == [1, 1, 0]
        assert set(run.heard.accepted_for) == {(MODEL, "anna"), (MODEL, "bert")}


async def test_a_folder_may_stand_for_a_label_of_another_name(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.intakes[MODEL] = taking(scissors="✌️")
        run.drop("gestures/scissors/a.png", png())
        await run.emptied()
        assert [sample.label for sample in await run.samples()] == ["✌️"]


async def test_a_burst_is_told_as_one_event_per_label_with_a_count(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        staging = tmp_path / "staging"
        for number in range(30):
            path = staging / ("rock" if number % 3 else "paper") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(numbered(number))
        staging.rename(run.inbox / MODEL)
        await run.emptied()
        events = await run.told("sampleAccepted")
        counted = Counter[str]()
        for event in events:
            counted[event["label"]] += event.get("count", 1)
        assert counted == {"rock": 20, "paper": 10}
        assert len(events) < 15


# ── what cannot be used ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (png()[:-30], "damaged"),
        (b"", "not a picture"),
        (bomb(40_000), "million pixels"),
    ],
    ids=["truncated", "empty", "bomb"],
)
async def test_a_bad_picture_is_rejected_beside_its_reason(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    async with running(tmp_path) as run:
        run.drop("gestures/rock/bad.png", content)
        run.drop("gestures/rock/good.png", png())
        await run.emptied()
        ((name, reason),) = run.rejected().items()
        assert name == "gestures/rock/bad.png"
        assert complaint in reason
        (event,) = await run.told("sampleRejected")
        assert (event["name"], event["reason"]) == ("bad.png", reason)
        assert len(await run.samples()) == 1


async def test_rejected_files_of_the_same_name_do_not_replace_one_another(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for content in (b"one", b"two", b"one"):
            run.drop("gestures/rock/bad.png", content)
            await run.emptied()
        names = {"gestures/rock/bad.png", f"gestures/rock/{digest(b'two')[:12]}-bad.png"}
        assert set(run.rejected()) == names


async def test_rejected_files_of_one_burst_and_their_reasons_do_not_replace_one_another(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as run:
        dropped = {"x/bad.png": b"one", "y/bad.png": b"two", "q.png": b"three", "q.png.txt": b"four"}
        for name, content in dropped.items():
            run.drop(f"gestures/rock/{name}", content)
        await run.emptied()
        folder = run.store.rejected / "gestures/rock"
        contents = {path.read_bytes() for path in folder.iterdir()}
        assert set(dropped.values()) <= contents
        assert len(list(folder.iterdir())) == 2 * len(dropped)


async def test_a_bad_file_with_the_longest_name_is_rejected_and_the_rest_is_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.drop("gestures/rock/good.png", png())
        (run.inbox / "gestures/rock" / f"{'a' * 251}.png").write_bytes(b"no picture")
        await run.emptied()
        assert len(await run.samples()) == 1
        assert len(list((run.store.rejected / "gestures/rock").iterdir())) == 2


async def test_folders_nested_without_end_are_reported_and_the_rest_is_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        (run.inbox / "/".join("d" * 100)).mkdir(parents=True)
        run.drop("gestures/rock/good.png", png())
        await until(lambda: bool(run.kept()))
        run.ingest.rescan()
        await until(lambda: any("nested more than" in warning for warning in run.ingest.warnings))


async def test_a_file_over_the_limit_is_rejected_without_being_read(tmp_path: Path) -> None:
    async with running(tmp_path, replace(FAST, file_bytes=1000)) as run:
        run.drop("gestures/rock/big.png", bytes(1001))
        await run.emptied()
        assert "the limit is" in run.rejected()["gestures/rock/big.png"]


async def test_the_same_content_again_is_a_duplicate_and_counted_once(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.drop("gestures/rock/a.png", png())
        await run.emptied()
        run.drop("gestures/rock/b.png", png())
        await run.emptied()
        assert [(e["name"], e["reason"]) for e in await run.told("sampleRejected")] == [
            ("b.png", "duplicate")
        ]
        assert len(await run.samples()) == len(run.kept()) == 1
        assert run.rejected() == {}


async def test_the_same_content_twice_in_one_burst_is_one_sample(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        (tmp_path / "staging/rock").mkdir(parents=True)
        for name in "abc":
            (tmp_path / "staging/rock" / name).write_bytes(png())
        (tmp_path / "staging").rename(run.inbox / MODEL)
        await run.emptied()
        (event,) = await run.told("sampleRejected")
        assert (event["reason"], event["count"]) == ("duplicate", 2)
        assert len(await run.samples()) == len(run.kept()) == 1


async def test_the_same_content_under_another_label_is_a_relabel(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.drop("gestures/rock/a.png", png())
        await run.emptied()
        run.drop("gestures/paper/a.png", png())
        await run.emptied()
        (sample,) = await run.samples()
        assert sample.label == "paper"
        assert run.kept() == [sample.path.removeprefix("models/")]
        assert [e.get("reason", "") for e in await run.told("sampleAccepted")] == ["", "relabelled"]


async def test_links_pipes_and_what_a_link_leads_to_are_left_alone_and_told_once(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "secret.png").write_bytes(png())
    async with running(tmp_path) as run:
        folder = run.inbox / MODEL / "rock"
        folder.mkdir(parents=True)
        (folder / "passwd").symlink_to("/etc/passwd")
        (folder / "folder").symlink_to(secret)
        os.mkfifo(folder / "pipe")
        await until(lambda: run.heard.outcomes >= 3)
        run.ingest.rescan()
        run.drop("gestures/rock/good.png", numbered(1))
        await until(lambda: run.heard.accepted_for)
        reasons = {e["name"]: e["reason"].partition(";")[0] for e in await run.told("sampleRejected")}
        assert reasons == {
            "passwd": "a symbolic link",
            "folder": "a symbolic link",
            "pipe": "not a regular file",
        }
        assert len(await run.told("sampleRejected")) == 3
        assert len(run.files()) == 3
        assert (secret / "secret.png").exists()


async def test_a_folder_swapped_for_a_link_does_not_lead_out_of_the_inbox(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(png())
    root = tmp_path / "inbox"
    (root / MODEL).mkdir(parents=True)
    (root / MODEL / "rock").symlink_to(outside)
    path = root / MODEL / "rock" / "a.png"
    found = Found.of(path, path.stat())
    with pytest.raises(claim.Changed):
        claim.claim(root, found, tmp_path, 1000)
    assert not claim.remove_original(root, found)
    assert (outside / "a.png").exists()


# ── what waits ──────────────────────────────────────────────────────────────────────────────────
async def test_files_for_an_unknown_model_or_label_wait_and_are_taken_when_it_is_known(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as run:
        run.drop("later/rock/a.png", numbered(1))
        run.drop("later/rock/b.png", numbered(2))
        run.drop("gestures/spock/c.png", numbered(3))
        run.drop("gestures/loose.png", numbered(4))
        run.drop("looser.png", numbered(5))
        await until(lambda: run.ingest.waiting == 5)
        await until(lambda: run.heard.outcomes)
        waiting = await run.told("sampleWaiting")
        assert any("no model named later" in e["reason"] for e in waiting)
        assert any(
            "spock is no label of gestures; its labels are rock, paper" in e["reason"] for e in waiting
        )
        assert run.rejected() == {}
        await run.ledger.run(register, "later")
        run.intakes["later"] = taking()
        run.ingest.rescan()
        await until(lambda: run.heard.accepted_for)
        await until(lambda: len(run.files()) == 3)
        assert run.ingest.waiting == 3
        assert [sample.name for sample in await run.samples(model="later")] == ["a.png", "b.png"]


async def test_what_waits_is_told_once_and_forgotten_when_it_is_gone(tmp_path: Path) -> None:
    async with running(tmp_path, replace(FAST, rescan_s=0.1)) as run:
        path = run.drop("gestures/spock/c.png", png())
        await until(lambda: run.ingest.waiting == 1)
        run.drop("gestures/rock/a.png", numbered(1))
        await until(lambda: run.heard.accepted_for)
        path.unlink()
        await until(lambda: run.ingest.waiting == 0)
        assert len(await run.told("sampleWaiting")) == 1


@pytest.mark.parametrize("name", [".hidden.png", "a.png.part", "a.tmp", "a.crdownload", "a.png~"])
async def test_unfinished_names_are_never_taken(tmp_path: Path, name: str) -> None:
    async with running(tmp_path) as run:
        unfinished = run.drop(f"gestures/rock/{name}", png())
        run.drop("gestures/rock/finished.png", numbered(1))
        await until(lambda: run.heard.accepted_for)
        assert unfinished.exists()
        assert [sample.name for sample in await run.samples()] == ["finished.png"]


async def test_a_model_that_could_not_be_taken_is_handed_over_again_by_a_rescan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, replace(FAST, rescan_s=3600)) as run:
        tried: list[Found] = []
        take = run.heard.model_dropped

        async def refuses_once(found: Found) -> None:
            tried.append(found)
            if len(tried) == 1:
                raise HostError("the disk is full")
            await take(found)

        monkeypatch.setattr(run.heard, "model_dropped", refuses_once)
        run.drop("new.mlmodel", b"a model")
        await until(lambda: run.heard.warnings == ["the disk is full"])
        run.ingest.rescan()
        await until(lambda: [path.name for path in run.heard.models] == ["new.mlmodel"])


async def test_a_model_dropped_into_the_inbox_is_handed_over(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.drop("new.mlmodel", b"a model")
        await run.emptied()
        assert [path.name for path in run.heard.models] == ["new.mlmodel"]


# ── names ───────────────────────────────────────────────────────────────────────────────────────
async def test_names_that_are_no_utf8_or_full_of_control_characters_do_no_harm(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        names = [b"\xff\xfe.png", b"a\nb\x1b[31m.png", "ü".encode() * 120 + b".png"]
        for number, name in enumerate(names):
            run.drop(f"gestures/rock/{number}.staged.tmp", numbered(number)).rename(
                run.inbox / MODEL / "rock" / os.fsdecode(name)
            )
        await run.emptied()
        assert len(await run.samples()) == len(run.kept()) == 3
        assert all(sample.name.isprintable() for sample in await run.samples())


async def test_a_label_may_be_spelled_with_combining_characters(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.intakes[MODEL] = replace(taking(), labels=("grün", "rot"))
        run.drop("gestures/gru\u0308n/a.png", png())
        await run.emptied()
        assert [sample.label for sample in await run.samples()] == ["grün"]


# ── what goes wrong with the machine ────────────────────────────────────────────────────────────
def failing(when: Callable[[str], bool], number: int) -> Callable[..., claim.Claim]:
    """Return a `claim` that the disk refuses for some names (root reads and writes everything, so it is made up)."""

    def claim_or_fail(root: Path, found: Found, incoming: Path, limit: int) -> claim.Claim:
        if when(found.path.name):
            raise OSError(number, os.strerror(number))
        return claim.claim(root, found, incoming, limit)

    return claim_or_fail


async def test_a_file_that_cannot_be_read_is_told_once_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "claim", failing(lambda name: name == "locked.png", errno.EACCES))
    async with running(tmp_path, replace(FAST, rescan_s=0.1)) as run:
        locked = run.drop("gestures/rock/locked.png", png())
        for number in range(3):
            run.drop(f"gestures/rock/{number}.png", numbered(number))
            await until(lambda: run.files() == [locked])
        assert run.heard.warnings == ["locked.png cannot be taken: Permission denied"]
        assert run.ingest.warnings == tuple(run.heard.warnings)


async def test_on_a_full_disk_nothing_is_taken_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]
    monkeypatch.setattr(ingest, "claim", failing(lambda _: full[0], errno.ENOSPC))
    async with running(tmp_path, replace(FAST, rescan_s=0.1)) as run:
        for number in range(5):
            run.drop(f"gestures/rock/{number}.png", numbered(number))
        await until(lambda: run.heard.warnings)
        assert len(run.files()) == 5
        full.clear()
        full.append(False)
        await run.emptied()
        assert len(await run.samples()) == 5
        assert run.heard.warnings == ["the disk is full: nothing is taken until there is space again"]


class Absent:
    """Decoders that cannot be started."""

    def __init__(self) -> None:
        self.broken = True

    async def decode(self, path: Path, name: str, want: InputSpec) -> bytes:  # noqa: ARG002 - the signature
        """Fail until it is repaired."""
        if self.broken:
            raise HostError("the decoder process ended with status 1: no memory")
        return bytes(math.prod(want.shape))


async def test_a_disk_that_refuses_even_to_forget_a_copy_ends_the_round_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that has been remounted read-only after an error."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    async with running(tmp_path, replace(FAST, rescan_s=0.1)) as run:
        run.drop("gestures/rock/1.png", numbered(1))
        await run.emptied()
        with monkeypatch.context() as patched:
            patched.setattr("finetuned.service.inputs.put_inputs", refuse)
            patched.setattr("pathlib.Path.unlink", refuse)
            run.drop("gestures/rock/2.png", numbered(2))
            await until(lambda: run.heard.warnings)
        await run.emptied()
        assert len(await run.samples()) == 2
        assert "read-only" in run.heard.warnings[0]


async def test_without_a_decoder_files_stay_and_are_taken_later(tmp_path: Path) -> None:
    decoders = Absent()
    async with running(tmp_path, replace(FAST, rescan_s=0.1), decoders) as run:
        run.drop("gestures/rock/a.png", png())
        await until(lambda: run.heard.warnings)
        assert (len(run.files()), run.rejected(), list(run.store.incoming.iterdir())) == (1, {}, [])
        decoders.broken = False
        await run.emptied()
        assert len(await run.samples()) == 1


async def test_while_it_is_closed_nothing_is_taken_and_nothing_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        run.ingest.closed = lambda: "the disk has no room"
        run.drop("gestures/rock/a.png", png())
        await until(lambda: run.heard.warnings)
        assert run.heard.warnings == ["the disk has no room"]
        assert (len(run.files()), run.rejected(), list(run.store.incoming.iterdir())) == (1, {}, [])
        run.ingest.closed = lambda: ""
        run.ingest.rescan()
        await run.emptied()
        assert len(await run.samples()) == 1


async def test_an_original_that_cannot_be_removed_is_a_sample_once_and_goes_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: Path, found: Found) -> bool:
        raise PermissionError(errno.EACCES, f"{root}: {found}")

    async with running(tmp_path, replace(FAST, rescan_s=0.05)) as run:
        with monkeypatch.context() as patched:
            patched.setattr(journal, "remove_original", refuse)
            run.drop("gestures/rock/a.png", png())
            await until(lambda: run.heard.warnings)
            run.drop("gestures/rock/b.png", numbered(1))
            await until(lambda: len(run.heard.warnings) == 2)
            assert len(run.files()) == 2
        await until(lambda: not run.files())
        assert [event["type"] for event in await run.told()] == ["sampleAccepted"] * 2
        assert len(run.kept()) == 2


# ── many, and slowly ────────────────────────────────────────────────────────────────────────────
async def test_nothing_of_a_flood_is_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for number in range(600):
            run.drop(
                f"gestures/{['rock', 'paper'][number % 2]}/{number // 20}/{number}.png", numbered(number)
            )
        await run.emptied()
        assert len(await run.samples()) == len(run.kept()) == 600
        assert sum(event.get("count", 1) for event in await run.told("sampleAccepted")) == 600


async def test_a_file_that_is_written_slowly_is_taken_whole(tmp_path: Path) -> None:
    content, clock = png(size=(64, 64)) + bytes(100_000), HandClock()
    async with running(tmp_path, FAST, clock=clock) as run:
        (run.inbox / MODEL / "rock").mkdir(parents=True)
        with (run.inbox / MODEL / "rock" / "slow.png").open("wb", buffering=0) as file:
            for start in range(0, len(content), 20_000):
                file.write(content[start : start + 20_000])
                clock.now += 0.9 * FAST.settle_s
                await clock.looked_at()
        clock.let_go()
        await run.emptied()
        assert [sample.digest for sample in await run.samples()] == [digest(content)]


# ── before a task ───────────────────────────────────────────────────────────────────────────────
async def test_inputs_that_are_missing_are_decoded_again_from_the_kept_originals(tmp_path: Path) -> None:
    async with running(tmp_path) as run, Decoders() as decoders:
        for number in range(3):
            run.drop(f"gestures/rock/{number}.png", numbered(number))
        await run.emptied()
        samples = await run.samples()
        path = run.store.inputs(MODEL, "")
        path.unlink()
        (run.store.root / samples[2].path).write_bytes(b"eaten by the disk")
        reasons = await ensure_inputs(run.store, decoders, samples, GRAY)
        assert list(reasons) == [samples[2].digest]
        with opened(path) as db:
            assert missing_inputs(db, GRAY.signature, [s.digest for s in samples]) == [samples[2].digest]
