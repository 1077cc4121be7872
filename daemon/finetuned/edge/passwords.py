"""The broker's password: from a file or a systemd credential, never from the configuration or a command line."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from finetuned.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from finetuned.edge.config import Mqtt

CREDENTIAL = "mqtt-password"
MAX_PASSWORD_BYTES = 65_535  # what MQTT can carry


def password(mqtt: Mqtt, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the broker's password from its file, or else from systemd's credential `mqtt-password`.

    Raises:
        ConfigurationError: the file is missing, readable by everybody, or is not one line of text.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(folder, CREDENTIAL) if folder else None
    if mqtt.password_file:
        return _secret("mqtt.password_file", Path(mqtt.password_file))
    return _secret(f"credential {CREDENTIAL}", credential) if credential and credential.exists() else None


def _secret(key: str, path: Path) -> str:
    try:
        return _line(path)
    except OSError as error:
        raise ConfigurationError(f"{key}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{key}: {path} is not UTF-8") from None  # its cause holds the password
    except ValueError as error:
        raise ConfigurationError(f"{key}: {path} {error}") from None


def _line(path: Path) -> str:
    """Return the one line; ValueError says what the file is instead."""
    known = path.stat()
    if not stat.S_ISREG(known.st_mode):
        raise ValueError("is not a file")  # to read a pipe would wait for ever
    if known.st_mode & stat.S_IROTH:
        raise ValueError(f"can be read by everybody; chmod o= {path}")
    with path.open("rb") as file:
        content = file.read(MAX_PASSWORD_BYTES + 1)
    if len(content) > MAX_PASSWORD_BYTES:
        raise ValueError(f"is larger than a password can be ({MAX_PASSWORD_BYTES} bytes)")
    lines = content.decode().splitlines()
    if len(lines) != 1 or not lines[0]:
        raise ValueError(f"holds {len(lines)} lines; one is expected, the password")
    return lines[0]
