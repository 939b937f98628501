"""Key, certificate and authorities of the TLS listener, asked for anew at every handshake."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["TlsMaterial", "WatchedFiles"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """What one handshake needs, PEM."""

    #: Private key.
    key: bytes
    #: Certificate chain, the agent's own first.
    chain: bytes
    #: Authorities that clients' certificates must descend from.
    roots: bytes


class WatchedFiles:
    """Material in files that somebody else renews; a change is seen at the next handshake.

    Replace the files by rename. With key and certificate in one file, both change at once; in two files, a
    handshake between the two renames fails.
    """

    def __init__(self, *, certificate: Path, key: Path, client_ca: Path) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._material: TlsMaterial | None = None

    def __call__(self) -> TlsMaterial:
        """Return the material as the files have it, or as they last had it whole.

        Raises:
            InvalidInputError: a file cannot be read or is no PEM, and never could.
        """
        try:
            seen = tuple(_mark(path) for path in (self._certificate, self._key, self._client_ca))
            if self._material is None or seen != self._seen:
                self._material = TlsMaterial(
                    key=_pem(self._key), chain=_pem(self._certificate), roots=_pem(self._client_ca)
                )
                self._seen = seen
        except InvalidInputError as error:
            if self._material is None:
                raise
            _log.warning("the TLS files cannot be renewed: %s", error)
        return self._material


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}.") from error
    return status.st_ino, status.st_mtime_ns, status.st_size


def _pem(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}.") from error
    if b"-----BEGIN " not in data:
        raise InvalidInputError(f"{path} is not a PEM file.")
    return data
