from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from finetuned.errors import HostError
from finetuned.service import decoder
from finetuned.service.decoder import Decoders, Limits
from finetuned.service.messages import Undecodable
from service.samples import GRAY, PICTURE, VECTOR, npy, png, until

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def obedient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install `decoder_plugin.py` for the decoder processes that are started."""
    info = tmp_path / "site" / "obedient-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: obedient\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[finetuned]\nobedient = decoder_plugin\n")
    monkeypatch.setenv("PYTHONPATH", f"{info.parent}{os.pathsep}{HERE}")


def file(folder: Path, content: bytes | str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


async def reason(decoders: Decoders, path: Path, name: str = "file.wish") -> str:
    reply = await decoders.decode(path, name, VECTOR)
    assert isinstance(reply, Undecodable), reply
    return reply.reason


async def test_a_picture_and_an_array_are_decoded(tmp_path: Path) -> None:
    async with Decoders() as decoders:
        red = await decoders.decode(file(tmp_path, png((255, 0, 0))), "a.png", PICTURE)
        assert red == bytes([255] * 24 + [0] * 48)
        numbers = await decoders.decode(file(tmp_path, npy([1, 2, 3])), "b.npy", VECTOR)
        assert numbers == np.array([1, 2, 3], "<f4").tobytes()


@pytest.mark.parametrize("name", ["picture", "picture.npy", "PICTURE.PNG"])
async def test_the_content_decides_where_the_suffix_does_not_help(tmp_path: Path, name: str) -> None:
    async with Decoders() as decoders:
        assert await decoders.decode(file(tmp_path, png(7)), name, GRAY) == bytes([7] * 16)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("a.npy", "not a .npy file"), ("a.xyz", "they know .bmp .gif"), ("a.jpg", "input x is an array")],
)
async def test_what_no_decoder_takes_is_undecodable_for_a_reason(
    tmp_path: Path, name: str, complaint: str
) -> None:
    async with Decoders() as decoders:
        path = file(tmp_path, b"neither picture nor array")
        reply = await decoders.decode(path, name, VECTOR)
        assert isinstance(reply, Undecodable)
        assert complaint in reply.reason


async def test_only_a_regular_file_of_a_bearable_size_is_opened(tmp_path: Path) -> None:
    async with Decoders(Limits(file_bytes=100)) as decoders:
        link = tmp_path / "link"
        link.symlink_to("/etc/passwd")
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        assert "symbolic links" in await reason(decoders, link)
        assert await reason(decoders, pipe) == "not a regular file"
        assert "larger than" in await reason(decoders, file(tmp_path, bytes(101)))


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        ("memory", "needs more memory"),
        ("recursion", "nested too deeply"),
        ("short", "returned 0 bytes, 12 are wanted"),
        ("blunder secret", "the decoder obedient failed (ValueError)"),
        ("write /dev/shm/never", "failed (OSError)"),
        (f"signal {signal.SIGSEGV:d}", "SIGSEGV"),
        (f"signal {signal.SIGKILL:d}", "SIGKILL"),
    ],
)
async def test_a_misbehaving_decoder_costs_one_sample(tmp_path: Path, wish: str, complaint: str) -> None:
    async with Decoders() as decoders:
        assert complaint in await reason(decoders, file(tmp_path, wish))
        assert await decoders.decode(file(tmp_path, "good"), "next.wish", VECTOR) == bytes(12)


@pytest.mark.parametrize("wish", ["hang", "spin"])
async def test_a_decoder_that_finds_no_end_is_ended_at_the_deadline(tmp_path: Path, wish: str) -> None:
    async with Decoders(Limits(timeout_s=0.5)) as decoders:
        assert await reason(decoders, file(tmp_path, wish)) == "decoding took longer than 0.5 s"
        assert await decoders.decode(file(tmp_path, "good"), "next.wish", VECTOR) == bytes(12)


async def test_a_decoder_killed_for_no_fault_of_the_sample_gets_a_successor(tmp_path: Path) -> None:
    marker = file(tmp_path, "", "marker")
    async with Decoders() as decoders:
        path = file(tmp_path, f"signal {signal.SIGKILL:d} {marker}")
        assert await decoders.decode(path, "a.wish", VECTOR) == bytes(12)


async def test_a_decoder_killed_between_two_files_is_replaced(tmp_path: Path) -> None:
    path = file(tmp_path, "good")
    async with Decoders() as decoders:
        assert await decoders.decode(path, "a.wish", VECTOR) == bytes(12)
        assert decoders.pid is not None
        os.kill(decoders.pid, signal.SIGKILL)
        assert await decoders.decode(path, "a.wish", VECTOR) == bytes(12)


async def test_one_process_serves_many_callers_and_runs_politely(tmp_path: Path) -> None:
    async with Decoders() as decoders:
        path = file(tmp_path, "introduce")
        said = await asyncio.gather(*(reason(decoders, path) for _ in range(20)))
        assert set(said) == {f"{decoders.pid} nice 10"}


async def test_a_caller_that_is_cancelled_leaves_the_others_served(tmp_path: Path) -> None:
    hanging, good = file(tmp_path, "hang"), file(tmp_path, "good", "good")
    async with Decoders() as decoders:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await decoders.decode(hanging, "a.wish", VECTOR)
        assert await decoders.decode(good, "b.wish", VECTOR) == bytes(12)


async def test_an_idle_process_is_ended_and_a_later_file_starts_another(tmp_path: Path) -> None:
    path = file(tmp_path, npy([1, 2, 3]))
    async with Decoders(Limits(idle_s=0.05)) as decoders:
        first = await decoders.decode(path, "a.npy", VECTOR)
        await until(lambda: decoders.pid is None)
        assert await decoders.decode(path, "a.npy", VECTOR) == first


async def test_a_decoder_that_cannot_start_is_the_hosts_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "MODULE", "no_such_module")
    async with Decoders() as decoders:
        with pytest.raises(HostError, match=r"ended with status 1.*No module named no_such_module"):
            await decoders.decode(file(tmp_path, npy([1, 2, 3])), "a.npy", VECTOR)


async def test_a_decoder_process_without_any_decoder_is_the_hosts_fault(tmp_path: Path) -> None:
    async with Decoders(Limits(memory_bytes=2**20)) as decoders:
        with pytest.raises(HostError, match="ended with status 1"):
            await decoders.decode(file(tmp_path, npy([1, 2, 3])), "a.npy", VECTOR)
