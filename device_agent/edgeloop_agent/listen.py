"""Where the agent listens: a Unix socket of its own user, loopback when asked for, TCP under mutual TLS."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from edgeloop_foundation.addresses import is_loopback
from edgeloop_foundation.errors import InvalidInputError, UnavailableError

from edgeloop_agent.tls_material import TlsMaterial, WatchedFiles

__all__ = [
    "Listener",
    "LoopbackListener",
    "TlsListener",
    "UnixListener",
    "listener_for",
    "split_address",
]

# struct sockaddr_un holds 108 bytes, the last one zero.
_SOCKET_PATH_BYTES_MAX = 107


def _failed(address: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"cannot listen on {address}: {error}.", next_step="Is it taken, or not an address of this machine?"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixListener:
    """A socket that only its owner may open."""

    #: Path of the socket.
    path: Path

    def bind(self, server: grpc.aio.Server | grpc.Server) -> str:
        """Bind and return the address that clients use.

        Raises:
            InvalidInputError: the path is too long, or others may write into its directory.
            UnavailableError: the system refuses.
        """
        path = self.path.absolute()
        if len(os.fsencode(path)) > _SOCKET_PATH_BYTES_MAX:
            raise InvalidInputError(
                f"the socket path {path} has {len(os.fsencode(path))} bytes, at most "
                f"{_SOCKET_PATH_BYTES_MAX} are possible.",
                next_step="Choose a shorter --socket.",
            )
        self._prepare_directory(path.parent)
        if _answers(path):
            raise UnavailableError(
                f"somebody listens on {path} already.", next_step="Stop them, or choose another --socket."
            )
        address = f"unix:{path}"
        # The socket has its mode from its first moment on; a chmod would come too late.
        previous = os.umask(0o177)
        try:
            server.add_insecure_port(address)
        except RuntimeError as error:
            raise _failed(address, error) from error
        finally:
            os.umask(previous)
        path.chmod(0o600)
        return address

    def _prepare_directory(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
        # In a sticky directory such as /tmp nobody but the owner can replace a file.
        if mode & 0o022 and not mode & stat.S_ISVTX:
            raise InvalidInputError(
                f"others may write into {directory} (mode {mode:o}), so they could replace the socket.",
                next_step=f"Choose a directory of mode 700, or run: chmod 700 {directory}",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopbackListener:
    """An unprotected port on this machine alone; for trying things out."""

    #: Loopback address or "localhost".
    host: str
    #: Port; 0 lets the system choose.
    port: int

    def bind(self, server: grpc.aio.Server | grpc.Server) -> str:
        """Bind and return the address that clients use.

        Raises:
            UnavailableError: the system refuses.
        """
        try:
            port = server.add_insecure_port(_join(self.host, self.port))
        except RuntimeError as error:
            raise _failed(_join(self.host, self.port), error) from error
        return _join(self.host, port)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsListener:
    """A port that only holders of a certificate of the fleet's authority may talk to."""

    #: Address to listen on.
    host: str
    #: Port; 0 lets the system choose.
    port: int
    #: Returns key, certificate and authorities; asked at every handshake, so that a renewal needs no restart.
    material: Callable[[], TlsMaterial]

    def bind(self, server: grpc.aio.Server | grpc.Server) -> str:
        """Bind and return the address that clients use.

        Raises:
            EdgeloopError: there is no usable certificate.
            UnavailableError: the system refuses.
        """
        credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._configuration, require_client_authentication=True
        )
        try:
            port = server.add_secure_port(_join(self.host, self.port), credentials)
        except RuntimeError as error:
            raise _failed(_join(self.host, self.port), error) from error
        return _join(self.host, port)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        now = self.material()
        return grpc.ssl_server_certificate_configuration([(now.key, now.chain)], root_certificates=now.roots)


Listener = UnixListener | LoopbackListener | TlsListener


def _answers(path: Path) -> bool:
    """Return whether a socket is in use; binding would take it away from its owner without a word."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address.

    Raises:
        InvalidInputError: it is none.
    """
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidInputError(f"{address!r} is not of the form HOST:PORT.")
    return host, int(port)


def listener_for(
    *,
    socket_path: Path | None,
    address: str,
    insecure_loopback: bool,
    certificate: Path | None,
    key: Path | None,
    client_ca: Path | None,
    enrolled: Callable[[], TlsMaterial] | None = None,
) -> Listener:
    """Return the listener that the command line asks for; ``enrolled`` is the material of an enrolled device.

    Raises:
        InvalidInputError: the options do not name exactly one safe way to listen.
    """
    if (socket_path is None) == (not address):
        raise InvalidInputError("give either --socket PATH or --listen HOST:PORT.")
    files = (certificate, key, client_ca)
    if socket_path is not None:
        if insecure_loopback or any(files):
            raise InvalidInputError("--socket takes neither TLS files nor --insecure-loopback.")
        return UnixListener(path=socket_path)
    host, port = split_address(address)
    if insecure_loopback:
        if any(files):
            raise InvalidInputError("give either TLS files or --insecure-loopback.")
        if not is_loopback(host):
            raise InvalidInputError(
                f"--insecure-loopback listens on loopback only, and {host} is not.",
                next_step="Use mutual TLS to be reached from elsewhere.",
            )
        return LoopbackListener(host=host, port=port)
    if enrolled is not None and not any(files):
        return TlsListener(host=host, port=port, material=enrolled)
    if certificate is None or key is None or client_ca is None:
        raise InvalidInputError(
            "a TCP listener needs mutual TLS: an enrolled device, or --tls-certificate, --tls-key, --tls-client-ca.",
            next_step="Enrol it: edgeloop device enrol NAME. On loopback, --insecure-loopback does without.",
        )
    watched = WatchedFiles(certificate=certificate, key=key, client_ca=client_ca)
    return TlsListener(host=host, port=port, material=watched)
