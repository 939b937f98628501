"""Private keys in files: PEM, mode 0600, encrypted when there is a passphrase."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from edgeloop_foundation.errors import AlreadyExistsError, InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import OsFileSystem, make_durable_directory, write_durably
from securesystemslib.signer import CryptoSigner

__all__ = ["KeyRing"]


class KeyRing:
    """The keys of one directory.

    Args:
        directory: where the files are.
        passphrase: encrypts new keys and opens encrypted ones; empty for none.
    """

    def __init__(self, directory: Path, passphrase: str = "") -> None:
        self._directory, self._passphrase = directory, passphrase

    def create(self, name: str) -> CryptoSigner:
        """Make an Ed25519 key and keep it.

        Raises:
            AlreadyExistsError: there is one of that name.
        """
        self.refuse_existing((name,))
        path = self._directory / f"{name}.pem"
        private = Ed25519PrivateKey.generate()
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if self._passphrase:
            lock = serialization.BestAvailableEncryption(self._passphrase.encode())
        pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        fs = OsFileSystem()
        make_durable_directory(fs, self._directory)
        write_durably(fs, path, pem)
        return CryptoSigner(private)

    def made(self, name: str) -> CryptoSigner:
        """Return a key, made now where it is not here yet.

        Raises:
            InvalidInputError: the passphrase is missing or wrong.
        """
        return self.open(name) if (self._directory / f"{name}.pem").exists() else self.create(name)

    def refuse_existing(self, names: Iterable[str]) -> None:
        """Refuse a directory that holds one of these keys.

        Raises:
            AlreadyExistsError: it does.
        """
        for name in names:
            path = self._directory / f"{name}.pem"
            if path.exists():
                raise AlreadyExistsError(f"{path} exists already.")

    def open(self, name: str) -> CryptoSigner:
        """Return a key.

        Raises:
            NotFoundError: its file is not here.
            InvalidInputError: the passphrase is missing or wrong.
        """
        path = self._directory / f"{name}.pem"
        if not path.exists():
            raise NotFoundError(
                f"the key {path} is not here.", next_step="Bring it, or name where it is with --keys."
            )
        try:
            private = serialization.load_pem_private_key(
                path.read_bytes(), self._passphrase.encode() if self._passphrase else None
            )
        except (ValueError, TypeError) as error:
            raise InvalidInputError(
                f"{path} cannot be opened: {error}.", next_step="Set $EDGELOOP_RELEASE_PASSPHRASE."
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise InvalidInputError(f"{path} holds no Ed25519 key.")
        return CryptoSigner(private)
