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
MAX_PASSWORD_BYTES = 64 * 1024


def password(mqtt: Mqtt, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the broker's password from its file, or else from systemd's credential `mqtt-password`.

    Raises:
        ConfigurationError: the file is missing, readable by everybody, or is not one line of text.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    credential = Path(folder, CREDENTIAL) if folder else None
    if mqtt.password_file:
        return _secret(Path(mqtt.password_file))
    return _secret(credential) if credential and credential.exists() else None


def _secret(path: Path) -> str:
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise ConfigurationError(f"{path}: everybody can read this password; chmod o= {path}")
        with path.open("rb") as file:
            lines = file.read(MAX_PASSWORD_BYTES).decode().splitlines()
    except OSError as error:
        raise ConfigurationError(f"{path}: the password cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: the password is not UTF-8") from None
    if len(lines) != 1 or not lines[0]:
        raise ConfigurationError(f"{path}: one line is expected, the password; found {len(lines)}")
    return lines[0]
