"""TLS to a broker: what the configuration names becomes a context, and what OpenSSL says becomes advice."""

from __future__ import annotations

import ssl
from types import MappingProxyType
from typing import TYPE_CHECKING

from finetuned.errors import ConfigurationError

if TYPE_CHECKING:
    from finetuned.edge.config import Tls

ADVICE = MappingProxyType(
    {
        "Hostname mismatch": "its certificate is for another name: set mqtt.host to the name that it holds",
        "IP address mismatch": "its certificate is for another address: set mqtt.host to a name that it holds",
        "certificate has expired": "its certificate has expired: renew it at the broker (or is a clock wrong?)",
        "certificate is not yet valid": "its certificate is not valid yet: is a clock wrong?",
        "unable to get local issuer certificate": "an authority that is not known here signed its certificate: "
        "name that authority's own certificate in mqtt.tls.ca_file",
        "self-signed certificate": "nobody who is known here signed its certificate: "
        "name its authority's own certificate in mqtt.tls.ca_file",
        "certificate verify failed": "its certificate cannot be trusted: is mqtt.tls.ca_file its authority's?",
        "unsupported protocol": "it speaks no TLS 1.2 or newer: update the broker",
        "alert protocol version": "it speaks no TLS 1.2 or newer: update the broker",
        "wrong version number": "it speaks no TLS on this port: the port for TLS is usually mqtt.port = 8883",
        "record layer failure": "it speaks no TLS on this port: the port for TLS is usually mqtt.port = 8883",
        "UNEXPECTED_EOF": "it hung up during the greeting: does it speak TLS on this port (usually 8883)?",
        "certificate required": "it asks for a certificate of ours: set mqtt.tls.cert_file and key_file",
        "alert unknown ca": "it does not know who signed our certificate: mqtt.tls.cert_file must be signed by "
        "the authority in the broker's cafile",
        "alert certificate expired": "our certificate has expired: renew mqtt.tls.cert_file",
        "alert certificate revoked": "our certificate was revoked: have a new mqtt.tls.cert_file made",
        "alert": "it refuses our certificate: look at mqtt.tls.cert_file, and into the broker's log",
    }
)
"""Part of what OpenSSL says → what it means and what to do; the first that fits."""

SPOKEN_IN_VAIN = "does it speak TLS on this port (usually mqtt.port = 8883), and know our certificate?"
NOT_SPOKEN = "does it want TLS on this port (mqtt.tls.enabled = true)?"


class Socket(ssl.SSLSocket):
    """A socket that is closed when the other side cannot be trusted; paho leaves it open then."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own
        """Greet, in blocking mode as paho does."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def context(tls: Tls) -> ssl.SSLContext:
    """Return how to speak TLS: 1.2 at least, the broker's certificate and name checked.

    It is made anew for every connection, so that a renewed certificate needs no restart.

    Raises:
        ConfigurationError: a file is missing, is no certificate or key, or needs a pass phrase; it names the key.
    """
    made = _trusting(tls.ca_file)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.sslsocket_class = Socket
    if tls.cert_file:
        _introduce(made, tls.cert_file, tls.key_file)
    return made


def advice(said: str, *, spoken: bool) -> str:
    """Return why a connection failed with what to do about it; `spoken`: whether TLS was.  Anything else as it is."""
    if "SSL" in said:
        return next((f"{do} ({said})" for part, do in ADVICE.items() if part.lower() in said.lower()), said)
    if "hung up" in said or "reset by peer" in said:
        return f"{said}; {SPOKEN_IN_VAIN if spoken else NOT_SPOKEN}"
    return said


def _trusting(ca_file: str) -> ssl.SSLContext:
    """Return a context that trusts this authority, or without one the system's."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except ssl.SSLError:
        raise ConfigurationError(
            f"mqtt.tls.ca_file: {ca_file} holds no certificate (expected: PEM)"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"mqtt.tls.ca_file: {ca_file} cannot be read: {error.strerror}") from None


def _introduce(made: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    """Load our certificate and its key."""
    for key, path in ("cert_file", cert_file), ("key_file", key_file):
        try:
            with open(path, "rb"):  # noqa: PTH123 - OpenSSL's own error does not say which of the two
                pass
        except OSError as error:
            raise ConfigurationError(f"mqtt.tls.{key}: {path} cannot be read: {error.strerror}") from None
    try:
        made.load_cert_chain(cert_file, key_file, password=_no_pass_phrase)
    except _PassPhraseWantedError:
        raise ConfigurationError(
            f"mqtt.tls.key_file: {key_file} is locked by a pass phrase, and nobody is there to type it; "
            f"unlock it: openssl pkey -in {key_file} -out unlocked.key"
        ) from None
    except ssl.SSLError as error:
        raise ConfigurationError(_unusable(cert_file, key_file, str(error))) from None


def _unusable(cert_file: str, key_file: str, said: str) -> str:
    if "mismatch" in said.lower():
        return f"mqtt.tls.key_file: {key_file} is not the key of the certificate {cert_file}"
    try:
        ssl.PEM_cert_to_DER_cert(_first_certificate(cert_file))
    except ValueError:
        return f"mqtt.tls.cert_file: {cert_file} holds no certificate (expected: PEM)"
    return f"mqtt.tls.key_file: {key_file} holds no private key that can be used (expected: PEM): {said}"


def _first_certificate(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - as above
        _, begin, rest = file.read().partition(ssl.PEM_HEADER)
    return begin + rest.partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER


class _PassPhraseWantedError(Exception):
    """OpenSSL asks for a pass phrase; left alone, it would ask at the terminal."""


def _no_pass_phrase() -> str:
    raise _PassPhraseWantedError
