"""The machine: what is booted, its world, and a line to the budget in it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qemu.story import World

HERE = Path(__file__).parent
TOOLS = ("qemu-system-x86_64", "iasl", "busybox", "depmod", "modprobe", "cpio", "apt-get", "dpkg-deb")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "ac", "battery")
PORTS = {"charge": 0x2FF, "mains": 0x3EF, "celsius": 0x2EF}  # as in machine.dsl
LIMIT_S = 1800.0


# ── what is booted ──────────────────────────────────────────────────────────────────────────────
def _call(*command: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd).stdout


def fetch_kernel(folder: Path) -> Path:
    """Download and unpack Debian's present kernel; return where."""
    depends = _call("apt-cache", "depends", "linux-image-amd64").split()
    package = next(word for word in depends if word.startswith("linux-image-6"))
    _call("apt-get", "download", package, cwd=folder)
    kernel = folder / "kernel"
    _call("dpkg-deb", "-x", next(folder.glob("*.deb")), kernel)
    return kernel


def modules(kernel: Path) -> list[Path]:
    """Return the files of the modules wanted, in the order of loading."""
    version = next((kernel / "lib" / "modules").iterdir()).name
    _call("depmod", "-b", kernel, version)
    told = (_call("modprobe", "-d", kernel, "-S", version, "--show-depends", name) for name in MODULES)
    lines = [line.split() for answer in told for line in answer.splitlines()]
    return list(dict.fromkeys(Path(words[1]) for words in lines if words[0] == "insmod"))


def make_initramfs(folder: Path, kernel: Path) -> Path:
    """Pack busybox, the modules and `init`; return the archive."""
    tree = folder / "tree"
    for name in ("bin", "modules"):
        (tree / name).mkdir(parents=True)
    found = modules(kernel)
    for file in found:
        shutil.copy(file, tree / "modules")
    (tree / "modules" / "order").write_text("".join(f"{file.name}\n" for file in found))
    shutil.copy(shutil.which("busybox") or "", tree / "bin" / "busybox")
    shutil.copy(HERE / "init", tree / "init")
    (tree / "init").chmod(0o755)
    (tree / "begin").write_text(f"PYTHON='{sys.executable}' TESTS='{HERE.resolve().parent}'\n")
    archive = folder / "initramfs"
    _call("sh", "-c", f"find . | cpio --quiet -o -H newc > '{archive}'", cwd=tree)
    return archive


def make_table(folder: Path) -> Path:
    """Compile the firmware's table; return it."""
    _call("iasl", "-p", folder / "machine", HERE / "machine.dsl")
    return folder / "machine.aml"


def machine(folder: Path, kernel: Path) -> list[str]:
    """Return the command line of the emulator."""
    image = next((kernel / "boot").glob("vmlinuz-*"))
    options = {
        "machine": "pc",
        "accel": "tcg",
        "cpu": "max",
        "smp": "1",
        "m": "1G",
        "display": "none",
        "nic": "none",
        "kernel": str(image),
        "initrd": str(make_initramfs(folder, kernel)),
        "append": "console=ttyS0 panic=-1",
        "acpitable": f"file={make_table(folder)}",
        "virtfs": "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        "qmp": f"unix:{folder}/monitor,server=on,wait=off",
    }
    flags = [word for name, value in options.items() for word in (f"-{name}", value)]
    serial = [f"file:{folder}/console", "chardev:talk", "null", "null"]
    ports = [word for name in serial for word in ("-serial", name)]
    return ["qemu-system-x86_64", "-no-reboot", "-chardev", "stdio,id=talk,signal=off", *flags, *ports]


# ── the machine that runs ───────────────────────────────────────────────────────────────────────
class Monitor:
    """The emulator's monitor: where the world is changed."""

    def __init__(self, path: Path) -> None:
        """Connect; `path` is the emulator's socket."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rw")
        self._stream.readline()
        self._ask("qmp_capabilities")

    def change(self, world: World) -> None:
        """Let the firmware tell this from now on."""
        for name, port in PORTS.items():
            order = f"o /b {port:#x} {int(getattr(world, name)):#x}"
            self._ask("human-monitor-command", {"command-line": order})

    def _ask(self, command: str, arguments: dict[str, str] | None = None) -> None:
        self._stream.write(json.dumps({"execute": command, "arguments": arguments or {}}) + "\n")
        self._stream.flush()
        answer = {"event": ""}
        while "event" in answer:
            answer = json.loads(self._stream.readline())
        if "error" in answer or answer["return"]:
            raise RuntimeError(f"the emulator does not do {command}: {answer}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """The running machine: its world, and a line to the governor in it."""

    monitor: Monitor
    to: IO[str]
    answers: IO[str]
    console: Path

    def ask(self, line: str) -> Any:  # noqa: ANN401 - JSON
        """Send a line; return the answer."""
        self.send(line)
        return self.answer()

    def send(self, line: str) -> None:
        """Send a line."""
        self.to.write(f"{line}\n")
        self.to.flush()

    def answer(self) -> Any:  # noqa: ANN401 - JSON
        """Return the guest's next answer."""
        return json.loads(self.heard())

    def heard(self) -> str:
        """Return the guest's next line; raise `RuntimeError` with the end of its console where there is none."""
        line = self.answers.readline()
        if not line:
            raise RuntimeError("\n".join(self.console.read_text(errors="replace").splitlines()[-30:]))
        return line


@contextmanager
def booted(folder: Path, kernel: Path, world: World) -> Iterator[Guest]:
    """Boot the machine in this world; turn it off at the end; its first line is its kernel's name."""
    pipe = subprocess.PIPE
    with subprocess.Popen(machine(folder, kernel), stdin=pipe, stdout=pipe, text=True) as process:
        deadline = threading.Timer(LIMIT_S, process.kill)
        deadline.start()
        try:
            while not (folder / "monitor").exists() and process.poll() is None:
                time.sleep(0.1)
            monitor = Monitor(folder / "monitor")
            monitor.change(world)
            assert process.stdin is not None
            assert process.stdout is not None
            guest = Guest(
                monitor=monitor, to=process.stdin, answers=process.stdout, console=folder / "console"
            )
            yield guest
        finally:
            deadline.cancel()
            process.kill()
