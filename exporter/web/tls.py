"""The TLS context of the server from a web configuration file, and one TLS session without a socket."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from exporter.config.files import FILE_BYTES
from exporter.config.web_file import CIPHERS, CURVES, TlsConfig

# Encrypted bytes that are decrypted at a time.
PIECE_BYTES = 16 * 1024
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_SAN_TYPES = ("DNS", "email", "IP Address", "URI")


class TlsMistake(Exception):
    """A value of `tls_server_config` that cannot be used; `key` is its name."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Tls(NamedTuple):
    """How connections are encrypted, and the names of which a client's certificate needs one, if there are any."""

    context: ssl.SSLContext
    allowed_sans: frozenset[str] = frozenset()

    def allows(self, session: TlsSession) -> bool:
        """Return whether the client's certificate has an allowed subjectAltName."""
        if not self.allowed_sans:
            return True
        try:
            return not self.allowed_sans.isdisjoint(session.client_names())
        except ValueError:  # a name that cannot be decoded
            return False


def files_of(config: TlsConfig, directory: Path) -> list[Path]:
    """Return the files that a configuration names; relative paths begin at `directory`."""
    return [directory / name for name in (config.cert_file, config.key_file, config.client_ca_file) if name is not None]


def server_tls(config: TlsConfig, directory: Path) -> Tls:
    """Return the context of a valid configuration; raise TlsMistake, which never quotes a key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[config.min_version], _VERSIONS[config.max_version]
    # Sessions of TLS 1.3 are not resumed: that would skip the verification of a client's certificate.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, config, directory)
    if config.verifies_clients:
        _load_authority(context, config, directory)
    _choose_algorithms(context, config)
    return Tls(context, frozenset(map(_san, config.client_allowed_sans)))


def _load_certificate(context: ssl.SSLContext, config: TlsConfig, directory: Path) -> None:
    certificate, key = _content(config, "cert", directory), _content(config, "key", directory)
    if b"ENCRYPTED" in key:
        raise TlsMistake(_name(config, "key"), "the private key is encrypted, expected one without a passphrase")
    name = _name(config, "cert")
    certificate_path, key_path = _path(config, "cert", directory), _path(config, "key", directory)
    with _file(certificate_path, certificate) as certificate_file, _file(key_path, key) as key_file:
        try:
            context.load_cert_chain(certificate_file, key_file, password="")  # otherwise it may ask on a terminal
        except ssl.SSLError as error:
            reason = (error.reason or "no certificate and key in PEM").replace("_", " ").lower()
            raise TlsMistake(name, f"certificate and private key cannot be used: {reason}") from None


def _load_authority(context: ssl.SSLContext, config: TlsConfig, directory: Path) -> None:
    text = _content(config, "client_ca", directory).decode("ascii", "replace").replace("\ufffd", "?")
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise TlsMistake(_name(config, "client_ca"), "there is no certificate in PEM") from None
    is_required = config.client_auth_type == "RequireAndVerifyClientCert"
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL


def _choose_algorithms(context: ssl.SSLContext, config: TlsConfig) -> None:
    if config.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if config.cipher_suites:
        _choose_ciphers(context, [CIPHERS[name] for name in config.cipher_suites if CIPHERS[name]])
    curves = [CURVES[name] for name in dict.fromkeys(config.curve_preferences)]
    try:
        if len(curves) == 1:
            context.set_ecdh_curve(curves[0])
        elif curves:
            context.set_groups(":".join(curves))  # type: ignore[attr-defined]
    except AttributeError:
        message = f"got {len(curves)} curves, expected one or none: Python has more from 3.15 on"
        raise TlsMistake("curve_preferences", message) from None
    except (ssl.SSLError, ValueError):
        raise TlsMistake("curve_preferences", "this OpenSSL does not have the curve") from None


def _choose_ciphers(context: ssl.SSLContext, names: list[str]) -> None:
    """Allow these suites for TLS 1.2 only; those of TLS 1.3 stay, as in Go."""
    if not names:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return
    try:
        context.set_ciphers(":".join(names))
    except ssl.SSLError:
        raise TlsMistake("cipher_suites", "this OpenSSL has none of the suites") from None


def _name(config: TlsConfig, key: str) -> str:
    return key if getattr(config, key) is not None else f"{key}_file"


def _path(config: TlsConfig, key: str, directory: Path) -> Path | None:
    """Return the file of a key, None when it is given inline."""
    name = getattr(config, f"{key}_file")
    return None if name is None else directory / name


def _content(config: TlsConfig, key: str, directory: Path) -> bytes:
    """Return the PEM text of a key, given inline or in a file."""
    if (inline := getattr(config, key)) is not None:
        return str(inline).encode()
    path = _path(config, key, directory) or directory
    try:
        with path.open("rb") as file:
            found: bytes = file.read(FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise TlsMistake(f"{key}_file", f"{path} cannot be read: {reason}") from None
    if len(found) > FILE_BYTES:
        raise TlsMistake(f"{key}_file", f"{path} has more than {FILE_BYTES} bytes")
    return found


@contextmanager
def _file(path: Path | None, content: bytes) -> Iterator[str]:
    """Yield the name of a file with the content: `path`, or one in memory, as the disk may be read-only."""
    if path is not None:
        yield str(path)
        return
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


class TlsSession:
    """A session of one connection, with bytes in place of a socket; for one thread at a time.

    `received` has decrypted bytes that were received and not taken.
    """

    __slots__ = ("_encrypted_in", "_encrypted_out", "_object", "has_ended", "is_complete", "received")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._encrypted_in, self._encrypted_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._encrypted_in, self._encrypted_out, server_side=True)
        self.is_complete = False
        self.has_ended = False
        self.received = b""

    def feed(self, encrypted: bytes) -> None:
        """Take bytes of the client: continue the handshake, then decrypt; raise `ssl.SSLError`."""
        self._encrypted_in.write(encrypted)
        try:
            if not self.is_complete:
                self._object.do_handshake()
                self.is_complete = True
            self._read()
        except ssl.SSLWantReadError:
            return

    def _read(self) -> None:
        pieces = [self.received]
        try:
            while self._encrypted_in.pending or self._object.pending():
                pieces.append(self._object.read(PIECE_BYTES))
                if not pieces[-1]:
                    self.has_ended = True
                    return
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        finally:
            self.received = b"".join(pieces)

    def take(self) -> bytes:
        """Return the decrypted bytes, once."""
        taken, self.received = self.received, b""
        return taken

    def encrypt(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt bytes for the client, to be sent by `to_send`."""
        view = memoryview(data)
        while view:
            view = view[self._object.write(view) :]

    def end(self) -> None:
        """Announce that no more bytes follow."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            return  # the client has not answered yet, which is not waited for

    def to_send(self) -> bytes:
        """Return the encrypted bytes for the client, once."""
        return self._encrypted_out.read()

    def has_expired(self, now: float) -> bool:
        """Return whether the client's verified certificate has expired at `now`, in Unix seconds.

        In TLS 1.2 a session may be resumed for hours, and its certificate is not verified again.
        """
        end = self._certificate().get("notAfter")
        return end is not None and ssl.cert_time_to_seconds(end) < now

    def client_names(self) -> set[str]:
        """Return the subjectAltNames of the client's verified certificate."""
        names = self._certificate().get("subjectAltName", ())
        return {_san(str(value)) for kind, value in names if kind in _SAN_TYPES}

    def _certificate(self) -> Mapping[str, Any]:
        return self._object.getpeercert() or {}


def _san(name: str) -> str:
    """Return a name, or an address in its usual spelling."""
    try:
        return str(ip_address(name.strip()))
    except ValueError:
        return name
