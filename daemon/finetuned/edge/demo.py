"""`finetuned demo`: the whole story in half a minute, with nothing faked.

A daemon of its own (a real process, with the embedded broker, on a temporary state folder) gets real pictures dropped into
its inbox; the progress bars are drawn by an MQTT subscriber like any other.  What is measured before and after are
pictures that were not trained on.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetuned.edge import client, config, console
from finetuned.edge.demo_data import DROPS, MODEL, TEST, pictures, truncated
from finetuned.edge.measuring import ClassifierReport, measure
from finetuned.errors import HostError
from finetuned.service import training_data
from finetuned.spec import codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.progress import Progress, TaskID

    from finetuned.edge.broker import Address

NAME = "digits"
START_S, END_S = 20.0, 120.0
PR_SET_PDEATHSIG = 1
CONFIGURATION = """\
# What `finetuned demo` runs with: a person waits.
state = "{state}"
[ingest]
settle_s = 0.2
[trigger]
min_new_samples = 50
quiet_s = 1.0
[budget]
mode = "always"
[mqtt]
batch_events_per_second = 50.0
[log]
level = "warning"
[models.{name}]
path = "{model}"
"""


@dataclass(slots=True)
class Story:
    """What was heard, up to the end."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[dict[str, str]] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)
    end: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


async def tell(keep: Path | None, *, json: bool) -> int:
    """Run the demo; print its summary; return the exit status."""
    began = time.monotonic()
    folder = keep.absolute() if keep else Path(tempfile.mkdtemp(prefix="finetuned-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if (telling := asyncio.current_task()) is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: the daemon must not be left behind
            asyncio.get_running_loop().add_signal_handler(number, telling.cancel)
    try:
        summary = await _tell(folder, began)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if json:
        console.line(summary)
    else:
        _show(summary, kept=keep is not None)
    return console.DONE if summary["promotion"] == "promoted" else console.NO


async def _tell(folder: Path, began: float) -> dict[str, Any]:
    person = console.person()
    state = folder / "state"
    file = folder / "finetuned.toml"
    file.write_text(CONFIGURATION.format(state=state, name=NAME, model=MODEL), encoding="utf-8")
    person.print("[bold]finetuned demo[/]: a model that reads digits meets a camera mounted on its side\n")
    async with _daemon(file, folder / "run") as address:
        person.print(f"broker   amqtt, embedded, on {address.host}:{address.port} (random password)")
        console.say(f"daemon   {address.node}, state folder {state}")
        dropped = await asyncio.to_thread(_drop, state / "inbox" / NAME)
        person.print(
            f"dropped  {dropped} pictures into inbox/{NAME}/<digit>/: one is corrupt, one a duplicate\n"
        )
        story = await _follow(address)
    version = state / "models" / NAME / "_" / "versions" / str(story.end["version"]) / "model.mlmodel"
    person.print("measuring before and after on pictures that were not trained on …")
    return await _summary(story, version, began)


# ── the daemon and its subscriber ───────────────────────────────────────────────────────────────
@asynccontextmanager
async def _daemon(file: Path, runtime: Path) -> AsyncIterator[Address]:
    """Run a daemon as a process; yield its address once it answers."""
    environ = {**os.environ, "RUNTIME_DIRECTORY": str(runtime)}
    log = file.with_name("daemon.log")
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "finetuned", "run", "-c", str(file)),
            env=environ,
            stderr=stderr,
            preexec_fn=_end_with_us,
        )
    try:
        yield await _address(file, environ, process, log)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _end_with_us() -> None:
    """Have the kernel end the daemon, should the demo be killed."""
    with suppress(OSError, AttributeError):  # another libc than glibc or musl
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def _address(
    file: Path, environ: dict[str, str], process: asyncio.subprocess.Process, log: Path
) -> Address:
    """Wait until the daemon answers a request."""
    loaded = config.load(file)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.returncode is not None:
            raise HostError(f"the daemon did not start: {log.read_text(errors='replace').strip()[-2000:]}")
        try:
            address = client.find(loaded, environ)
            async with client.connected(address, timeout=2.0) as daemon:
                await daemon.request("status", timeout=2.0)
        except HostError:
            await asyncio.sleep(0.05)
        else:
            return address
    raise HostError(
        f"the daemon did not answer within {START_S:g} s: {log.read_text(errors='replace')[-2000:]}"
    )


async def _follow(address: Address) -> Story:
    """Draw what the daemon says until its task ends."""
    story = Story()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(40),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    with Progress(*columns, console=console.person()) as bars:
        taking = bars.add_task("samples", total=len(pictures(DROPS)), said="")
        training = bars.add_task("training", total=None, said="")
        artist = Artist(story, bars, taking, training)
        try:
            async with asyncio.timeout(END_S):
                await _listen(address, story, artist)
        except TimeoutError:
            raise HostError(f"the demo's task did not end within {END_S:g} s{_why(story)}") from None
    return story


async def _listen(address: Address, story: Story, artist: Artist) -> None:
    async with client.connected(address, events=True) as daemon:
        story.topics.add(daemon.topics.base)
        async for topic, payload in daemon.events():
            artist.draw(topic, payload)
            if topic == "state":
                artist.hold(payload.get("reasons", []))
            if story.end:
                return


def _why(story: Story) -> str:
    return f": it is held for {', '.join(story.reasons)}" if story.reasons else ""


@dataclass(slots=True)
class Artist:
    """Turns events into bars."""

    story: Story
    bars: Progress
    taking: TaskID
    training: TaskID
    batches: int = 0

    def draw(self, topic: str, payload: dict[str, Any]) -> None:
        """Take one message."""
        kind = topic.removeprefix("event/")
        drawers: dict[str, Callable[[dict[str, Any]], None]] = {
            "sampleAccepted": self._accepted,
            "sampleRejected": self._rejected,
            "trainingBegin": self._begin,
            "miniBatchEnd": self._batch,
            "epochEnd": self._epoch,
            "completed": self._end,
            "failed": self._fail,
            "cancelled": self._fail,
        }
        if kind != topic and kind in drawers:
            drawers[kind](payload)

    def hold(self, reasons: list[str]) -> None:
        """Say what holds the task, if anything does: `always` leaves only what would harm the machine."""
        if reasons or self.story.reasons:
            self.bars.update(self.training, said=f"held: {', '.join(reasons)}" if reasons else "goes on")
        self.story.reasons = reasons

    def _accepted(self, event: dict[str, Any]) -> None:
        self.story.accepted += event.get("count", 1)
        self.bars.update(self.taking, completed=self.story.accepted, said="accepted")

    def _rejected(self, event: dict[str, Any]) -> None:
        if event["reason"].startswith("duplicate"):
            self.story.duplicates += event.get("count", 1)
        else:
            self.story.rejected.append({"name": event["name"], "reason": event["reason"]})

    def _begin(self, event: dict[str, Any]) -> None:
        self.batches = event["batches"]
        self.bars.update(
            self.training, total=event["epochs"] * event["batches"], said=f"on {event['device']}"
        )

    def _batch(self, event: dict[str, Any]) -> None:
        self.bars.update(
            self.training, completed=event["step"], said=f"loss {event['metrics']['lossValue']:.4f}"
        )

    def _epoch(self, event: dict[str, Any]) -> None:
        validation = event.get("validation") or {}
        held = f", {validation['accuracy']:.0%} of the held-out right" if "accuracy" in validation else ""
        metrics = event["metrics"]
        said = f"epoch {metrics['epochIndex'] + 1}: loss {metrics['lossValue']:.4f}{held}"
        self.bars.update(self.training, completed=event["step"], said=said)

    def _end(self, event: dict[str, Any]) -> None:
        self.story.end = event

    def _fail(self, event: dict[str, Any]) -> None:
        raise HostError(f"the task ended {event['type']}: {event.get('error', '')}")


# ── the pictures ────────────────────────────────────────────────────────────────────────────────
def _drop(inbox: Path) -> int:
    """Drop every picture as a good producer does: written aside, renamed into place."""
    drops = pictures(DROPS)
    for picture in drops:
        _put(inbox / picture.label / picture.path.name, picture.path.read_bytes())
    first, last = drops[0], drops[-1]
    _put(inbox / first.label / f"again-{first.path.name}", first.path.read_bytes())
    _put(inbox / last.label / "broken.png", truncated(last.path.read_bytes()))
    return len(drops) + 2


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_bytes(data)
    aside.rename(path)


# ── the end ─────────────────────────────────────────────────────────────────────────────────────
async def _summary(story: Story, version: Path, began: float) -> dict[str, Any]:
    before, after = await _accuracy(MODEL), await _accuracy(version)
    end, base = story.end, min(story.topics)
    return {
        "samples": {"accepted": story.accepted, "duplicates": story.duplicates, "rejected": story.rejected},
        "accuracy": {"before": before.accuracy, "after": after.accuracy, "pictures": after.samples},
        "version": end["version"],
        "model": str(version),
        "sha256": hashlib.sha256(version.read_bytes()).hexdigest(),
        "promotion": end["promotion"],
        "promotionReason": end["promotionReason"],
        "trainingSeconds": end["durationSeconds"],
        "seconds": round(time.monotonic() - began, 1),
        "topics": [f"{base}/event/#", f"{base}/model/{NAME}/state", f"{base}/state", f"{base}/availability"],
    }


async def _accuracy(path: Path) -> ClassifierReport:
    model = codec.decode(path.read_bytes())
    data = await training_data.read(TEST, model, {})
    report = measure(model, data.inputs, data.targets)
    if not isinstance(report, ClassifierReport):
        raise HostError(f"{path} is no classifier")
    return report


def _show(summary: dict[str, Any], *, kept: bool) -> None:
    person = console.person()
    samples, accuracy = summary["samples"], summary["accuracy"]
    refused = "; ".join(f"{r['name']}: {r['reason']}" for r in samples["rejected"])
    person.print(
        f"\nsamples   [green]{samples['accepted']} accepted[/], {samples['duplicates']} duplicate, [red]{len(samples['rejected'])} rejected[/] ({refused})"
    )
    person.print(
        f"accuracy  [red]{accuracy['before']:.0%}[/] before → [bold green]{accuracy['after']:.0%}[/] after, "
        f"on {accuracy['pictures']} pictures that were not trained on"
    )
    where = summary["model"] if kept else f"{summary['model']} (gone now; --keep DIR keeps it)"
    person.print(f"version   {summary['version']}, {summary['promotion']}: {summary['promotionReason']}")
    console.say(f"model     {where}")
    person.print("topics    " + "\n          ".join(summary["topics"]))
    person.print(
        f"time      {summary['trainingSeconds']:.1f} s for the task, {summary['seconds']:.0f} s in all"
    )
