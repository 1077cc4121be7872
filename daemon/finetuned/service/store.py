"""The state folder: where everything lies, and versions that appear whole or not at all.

The order of a save: version folder renamed into place → ledger commit → `current` → event.  After a crash
between any two, `repair` brings the folders back to what the ledger says.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetuned import files
from finetuned.errors import HostError, InUseError, RequestError
from finetuned.service.names import BASE, NO_USER, file_name, folder_name, label_folder, model_name, user_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from finetuned.service.ledger_versions import VersionRow

MODEL, CARD, SPEC = "model.mlmodel", "card.json", "spec.json"
IMMUTABLE = 0o444
INBOX_MODE = 0o777
DIGEST_CHARACTERS = 12
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Store:
    """The paths of one state folder; whatever takes a name from outside refuses an unsafe one (RequestError)."""

    root: Path

    # ── places ──────────────────────────────────────────────────────────────────────────────────
    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.root / "ledger.db"

    @property
    def inbox(self) -> Path:
        """Where samples are dropped, unless the configuration says another place."""
        return self.root / "inbox"

    @property
    def incoming(self) -> Path:
        """Private copies, being claimed; nothing in it outlives the daemon."""
        return self.root / "incoming"

    @property
    def rejected(self) -> Path:
        """Files that are no samples, each with a `.txt` that says why."""
        return self.root / "rejected"

    @property
    def unlabelled(self) -> Path:
        """Files without a label."""
        return self.root / "unlabelled"

    @property
    def tasks(self) -> Path:
        """A folder for each task that is alive."""
        return self.root / "tasks"

    @property
    def models(self) -> Path:
        """A folder for each model."""
        return self.root / "models"

    def base(self, model: str) -> Path:
        """The model as it was added."""
        return self.models / model_name(model) / BASE

    def user_folder(self, model: str, user: str) -> Path:
        """Everything of a (model, user); no user is `_`."""
        return self.models / model_name(model) / (user_name(user) if user else NO_USER)

    def inputs(self, model: str, user: str) -> Path:
        """The decoded inputs of a (model, user)."""
        return self.user_folder(model, user) / "inputs.db"

    def sample_path(self, *, model: str, user: str, label: str, digest: str, name: str) -> str:
        """Where an accepted original is kept, relative to the root, as the ledger notes it."""
        folder = self.user_folder(model, user) / "samples" / label_folder(label)
        return str((folder / file_name(name, f"{digest[:DIGEST_CHARACTERS]}-")).relative_to(self.root))

    def versions(self, model: str, user: str) -> Path:
        """The folder of a (model, user)'s versions."""
        return self.user_folder(model, user) / "versions"

    def version(self, model: str, user: str, version: int) -> Path:
        """The folder of one version."""
        return self.versions(model, user) / str(version)

    def model_file(self, model: str, user: str, version: int) -> Path:
        """The model of a version; 0 is the base."""
        return self.version(model, user, version) / MODEL if version else self.base(model)

    def current(self, model: str, user: str) -> Path:
        """The link to the version in use; it is missing while that is the base."""
        return self.user_folder(model, user) / "current"

    def task(self, task: str) -> Path:
        """The folder of a task: its spec, its checkpoints, its result until that is saved."""
        return self.tasks / folder_name(task, what="task")

    # ── the daemon's own ────────────────────────────────────────────────────────────────────────
    def prepare(self) -> None:
        """Make the folders, for the owner only."""
        for folder in (self.inbox, self.incoming, self.rejected, self.unlabelled, self.tasks, self.models):
            files.make_folder(folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the state folder; HostError where another daemon does.  The kernel frees it when we die."""
        try:
            files.make_folder(self.root)
        except HostError as error:
            raise HostError(f"the state folder {self.root}: {error}") from error
        with files.host_errors(f"locking {self.root}"):
            descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._hold(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _hold(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise InUseError(f"the state folder {self.root} is already in use by pid {pid}") from None
        with files.host_errors(f"locking {self.root}"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def instance(self) -> str:
        """Return the four hex digits that tell this node from its namesakes; made once."""
        path = self.root / "instance"
        with files.host_errors(f"reading {path.name}"):
            known = path.read_text("ascii", "replace").strip() if path.exists() else ""
        if re.fullmatch("[0-9a-f]{4}", known):
            return known
        made = secrets.token_hex(2)
        files.write_atomically(path, f"{made}\n".encode())
        return made

    def secret(self) -> bytes:
        """Return the 32 bytes that make this node's made-up names unguessable (`mqtt.disclose`); made once, for the owner only."""
        path = self.root / "secret"
        with files.host_errors(f"reading {path.name}"):
            known = path.read_bytes() if path.exists() else b""
        if len(known) == SECRET_BYTES:
            return known
        made = secrets.token_bytes(SECRET_BYTES)
        files.write_atomically(path, made)
        return made

    # ── models and versions ─────────────────────────────────────────────────────────────────────
    def add_model(self, model: str, data: bytes) -> Path:
        """Keep a baseline; `ledger_models.register_model` decides whether it may."""
        path = self.base(model)
        files.make_folder(path.parent)
        files.write_atomically(path, data, mode=IMMUTABLE)
        return path

    def save_version(self, model: str, user: str, version: int, *, result: Path, card: str) -> Path:
        """Move a task's result into a new version folder, which appears whole; return the folder.

        HostError where that version is there already: a version never changes.
        """
        folder = self.version(model, user, version)
        if folder.exists():
            raise HostError(
                f"version {version} of {model} is there already, though the ledger does not know it; a restart clears it"
            )
        with files.host_errors(f"saving version {version} of {model}"):
            temporary = files.aside(folder)
            files.remove(temporary)
            files.make_folder(temporary)
            files.write_durably(temporary / CARD, card.encode(), mode=IMMUTABLE)
            result.replace(temporary / MODEL)
            (temporary / MODEL).chmod(IMMUTABLE)
            files.fsync_file(temporary / MODEL)
            files.fsync_folder(temporary)
            temporary.replace(folder)
            files.fsync_folder(folder.parent)
        return folder

    def rewrite_card(self, model: str, user: str, version: int, card: str) -> None:
        """Write another card for a version that the ledger does not know yet: until it does, it may change."""
        files.write_atomically(self.version(model, user, version) / CARD, card.encode(), mode=IMMUTABLE)

    def drop_leftover(self, model: str, user: str, version: int, *, task: str) -> None:
        """Remove what a task has left of a version that the ledger does not know: a disk may refuse that, and once more later."""
        if _task_of(self.version(model, user, version)) == task:
            self.drop_version(model, user, version)

    def drop_version(self, model: str, user: str, version: int) -> None:
        """Remove a version's folder, if it is there: gone in one step, and durably, before its content goes."""
        folder = self.version(model, user, version)
        temporary = files.aside(folder)
        with files.host_errors(f"dropping version {version} of {model}"):
            if folder.exists():
                files.remove(temporary)
                folder.replace(temporary)
                files.fsync_folder(folder.parent)
        files.remove(temporary)

    def set_current(self, model: str, user: str, version: int) -> None:
        """Let `current` point to a version, in one step; 0, the base, is no link."""
        link = self.current(model, user)
        if version:
            files.link_atomically(link, f"versions/{version}")
        else:
            files.remove(link)

    def remove_unknown(self, paths: Collection[Path], kept: Collection[Path]) -> None:
        """Remove what lies at these paths, durably, except for what is `kept`."""
        ways = {folder for path in kept for folder in path.parents}
        for path in paths:
            if path not in kept and os.path.lexists(path):
                for stray in list(_all_but(path, kept)) if path in ways else [path]:
                    files.remove(stray)
        for folder in {path.parent for path in paths}:
            if folder.is_dir():
                with files.host_errors(f"removing what was in {folder}"):
                    files.fsync_folder(folder)

    # ── after a crash ───────────────────────────────────────────────────────────────────────────
    def repair(
        self,
        *,
        versions: Iterable[VersionRow],
        current: Iterable[VersionRow],
        dropped: Iterable[VersionRow],
        alive: Collection[str],
        checkpoints: Collection[Path],
    ) -> tuple[str, ...]:
        """Bring the folders back to what the ledger says, and tell what was done, a sentence each.

        `versions` are all that the ledger knows, `current` those in use, `dropped` those on their way out, `alive` the
        ids of tasks that have not ended, `checkpoints` the files that these may go on from.  HostError where a version
        that the ledger knows is gone: nothing can bring that back.
        """
        for row in dropped:
            self.drop_version(row.model, row.user, row.version)
        known = {self.version(row.model, row.user, row.version) for row in versions}
        for folder in sorted(known):
            if not (folder / MODEL).is_file():
                raise HostError(
                    f"{folder / MODEL} is gone, though the ledger knows it; restore it from a backup"
                )
        unknown = [folder for folder in self.models.glob("*/*/versions/*") if folder not in known]
        unsaved = [folder for folder in unknown if _task_of(folder) in alive]
        stray = (*unsaved, *self._stray_asides(), *self._task_leftovers(alive, checkpoints))
        for path in (*stray, *self.incoming.glob("*"), *self.incoming.glob(".*")):
            files.remove(path)
        told = [f"removed {path.relative_to(self.root)}" for path in stray]
        told += [
            self._set_aside(folder) for folder in unknown if folder not in unsaved and _is_version(folder)
        ]
        return (*told, *self._relink(current))

    def _set_aside(self, folder: Path) -> str:
        """Keep a version that the ledger does not know and that no living task was about to save: a ledger may be old."""
        aside = folder.with_name(f".unknown-{folder.name}-{secrets.token_hex(4)}")
        with files.host_errors(f"setting {folder} aside"):
            folder.replace(aside)
        return f"the ledger does not know {folder.relative_to(self.root)}; it is {aside.name} now"

    def _stray_asides(self) -> Iterator[Path]:
        yield from self.models.glob(f"*/.*{files.ASIDE}")
        yield from self.models.glob(f"*/*/.*{files.ASIDE}")
        yield from self.models.glob(f"*/*/versions/.*{files.ASIDE}")

    def _task_leftovers(self, alive: Collection[str], checkpoints: Collection[Path]) -> Iterator[Path]:
        """Yield the folders of ended tasks, and what an attempt that is over has left in a living one's."""
        for folder in self.tasks.glob("*"):
            if folder.name not in alive:
                yield folder
            else:
                yield from _all_but(folder, {*checkpoints, folder / SPEC})

    def _relink(self, current: Iterable[VersionRow]) -> Iterator[str]:
        wanted = {self.current(row.model, row.user): row for row in current}
        for link, row in wanted.items():
            if not link.is_symlink() or str(link.readlink()) != f"versions/{row.version}":
                self.set_current(row.model, row.user, row.version)
                yield f"current of {row.model} is version {row.version} again"
        for link in self.models.glob("*/*/current"):
            if link.is_symlink() and link not in wanted:
                files.remove(link)
                yield f"removed {link.relative_to(self.root)}: the base is in use"


def _all_but(folder: Path, kept: Collection[Path]) -> Iterator[Path]:
    """Yield what lies below a folder and is neither kept nor on the way to what is."""
    for path in sorted(folder.glob("*")):
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink() and any(path in each.parents for each in kept):
            yield from _all_but(path, kept)
        else:
            yield path


def _task_of(folder: Path) -> str:
    """Return the task that a version's card names, or nothing."""
    try:
        return str(json.loads((folder / CARD).read_bytes())["task"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _is_version(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def make_inbox(inbox: Path, model: str, labels: Iterable[str] = ()) -> Path:
    """Make `inbox/<model>/` with a folder for each label that can be a folder's name; return the model's.

    Its folders are as open as the umask and the inbox's own default ACL let them be: others drop files there.
    """
    folder = inbox / model_name(model)
    files.make_folder(folder, mode=INBOX_MODE)
    for label in labels:
        try:
            files.make_folder(folder / folder_name(label), mode=INBOX_MODE)
        except RequestError:
            continue  # reached through the configuration's `labels`
    return folder
