"""A mosquitto with the access list of config/, and an authority whose certificates it knows."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bridges import NODE
from brokers import PASSWORD, Mosquitto
from finetuned.edge.broker import LOOPBACK
from finetuned.edge.config import Tls
from shared import missing

if TYPE_CHECKING:
    from finetuned.edge.broker import Address

CONFIG = Path(__file__).parents[1] / "config"
ADMIN = "admin"
ROLES = ("reader", "operator", "homeassistant", "pi-3fa2", "nas-81c0")
DAEMON = "pi-3fa2"


def access_list(node: str = DAEMON) -> str:
    """Return the access list of config/ with this node in place of its example."""
    return (CONFIG / "mosquitto.acl").read_text().replace(DAEMON, node)


@dataclass(kw_only=True)
class Guarded(Mosquitto):
    """Debian's mosquitto with the roles of config/; `tls` are more lines of its configuration.

    The node of the first daemon's account is `node`; the account `admin`, which no example has, may everything.
    """

    node: str = NODE
    tls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Write its files over those of a broker with one account."""
        self.acl = ("topic readwrite #",)
        super().__post_init__()
        more = f"user {ADMIN}\ntopic readwrite #\n"
        (self.folder / "acl").write_text(access_list(self.node) + more)
        for name in (*(self.node if role == DAEMON else role for role in ROLES), ADMIN):
            command = ("mosquitto_passwd", "-b", str(self.folder / "passwords"), name, PASSWORD)
            subprocess.run(command, check=True)
        with (self.folder / "mosquitto.conf").open("a") as file:
            file.write("".join(f"{line}\n" for line in self.tls))

    def as_(self, role: str, tls: Tls | None = None) -> Address:
        """Return the broker's address for who has this role; with `tls`, by a certificate alone."""
        secret = "" if tls else PASSWORD
        return replace(self.address, username=role, password=secret, tls=tls, node=self.node)


@dataclass(frozen=True, slots=True)
class Authority:
    """Whoever signs certificates, in a folder of its own."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Authority:
        """Make one."""
        if shutil.which("openssl") is None:
            missing("left out: openssl is not installed (apt-get install openssl)")
        folder.mkdir()
        new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority"
        new += " -addext keyUsage=critical,keyCertSign"
        _openssl(folder, *new.split(), "-keyout", "ca.key", "-out", "ca.crt")
        return cls(folder)

    @property
    def certificate(self) -> str:
        """Its own certificate."""
        return str(self.folder / "ca.crt")

    def issue(self, name: str, address: str = f"IP:{LOOPBACK}", *, days: int = 2) -> tuple[str, str]:
        """Return the files of a certificate for this common name, and of its key; of negative days it has expired."""
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"authorityKeyIdentifier=keyid\nsubjectAltName={address}\n")
        new = f"req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name}"
        _openssl(self.folder, *new.split(), "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days}"
        _openssl(self.folder, *signed.split(), "-extfile", str(extensions), "-out", f"{name}.crt")
        return str(self.folder / f"{name}.crt"), str(self.folder / f"{name}.key")

    def client(self, name: str, *, days: int = 2) -> Tls:
        """Return the configuration of somebody who trusts this authority and has a certificate of it."""
        certificate, key = self.issue(name, days=days)
        return Tls(enabled=True, ca_file=self.certificate, cert_file=certificate, key_file=key)

    def listener(self, certificate: tuple[str, str]) -> tuple[str, ...]:
        """Return the lines of a listener with this certificate, as config/mosquitto.conf has them."""
        own = {"broker.crt": certificate[0], "broker.key": certificate[1], "ca.crt": self.certificate}
        lines = (CONFIG / "mosquitto.conf").read_text()
        for name, path in own.items():
            lines = lines.replace(f"/etc/mosquitto/certs/{name}", path)
        kept = ("certfile", "keyfile", "tls_version", "cafile", "require_", "use_identity", "message_size")
        return tuple(line for line in lines.splitlines() if line.startswith(kept))


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
