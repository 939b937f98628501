"""The signed metadata of one fleet's releases: made, added to, renewed, its keys replaced.

========== ======================= ========= =====================================================
role       keys                    life      signs
========== ======================= ========= =====================================================
root       two, both needed        365 days  which keys stand for which role
targets    one, the release key    90 days   which artifact a name stands for, and its terms
snapshot   one, of the controller  7 days    which versions belong together
timestamp  one, of the controller  7 days    that this is the present state, and when it was said
========== ======================= ========= =====================================================
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

from edgeloop_foundation.errors import AlreadyExistsError, CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import OsFileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.deployment import ReleaseBundle, ReleaseTerms, check_deployment_name
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from edgeloop.release.keys import KeyRing

__all__ = ["ROLES", "Repository"]

T = TypeVar("T", Root, Targets, Snapshot, Timestamp)

ROLES = ("root", "targets", "snapshot", "timestamp")
_LIFE = {"root": 365, "targets": 90, "snapshot": 7, "timestamp": 7}
_KEYS = {
    "root": ("root-1", "root-2"),
    "targets": ("targets",),
    "snapshot": ("snapshot",),
    "timestamp": ("timestamp",),
}
_BEGUN = "init.begun"
"""There from the first key of ``create`` to its end: what it finds then is its own."""

SIGNED_FIELD = "x-edgeloop-signed-s"


class Repository:
    """The releases of one fleet.

    Args:
        directory: holds the metadata and the controller's online keys.
        keys: directory with the keys of root and targets; they are needed to sign, not to deploy.
        passphrase: of the keys of root and targets.
        clock: seconds since 1970.
    """

    def __init__(self, directory: Path, keys: Path, passphrase: str, clock: Callable[[], float]) -> None:
        self._directory, self._clock = directory, clock
        self._offline, self._online = KeyRing(keys, passphrase), KeyRing(directory / "online")

    @property
    def exists(self) -> bool:
        """Whether there are releases, signed or not."""
        return (self._directory / "1.root.json").exists()

    def create(self) -> str:
        """Make every key and the first metadata; return the SHA-256 of the root.

        One that was interrupted goes on with the keys that it had made.

        Raises:
            AlreadyExistsError: there is one already, or a key that another one made.
        """
        begun = self._directory / _BEGUN
        if self.exists and not begun.exists():
            raise AlreadyExistsError(f"{self._directory} holds releases already.")
        fs = OsFileSystem()
        if not begun.exists():
            for role in ROLES:
                self._ring(role).refuse_existing(_KEYS[role])
            make_durable_directory(fs, self._directory)
            write_durably(fs, begun, b"release init has begun and not ended\n")
        signers = {role: [self._ring(role).made(name) for name in _KEYS[role]] for role in ROLES}
        if not self.exists:
            root = Root(version=1, expires=self._expiry("root"), consistent_snapshot=False)
            for role, held in signers.items():
                for signer in held:
                    root.add_key(signer.public_key, role)
            root.roles["root"].threshold = 2
            self._write("1.root.json", root, signers["root"])
        self._publish(Targets(version=1, expires=self._expiry("targets")), signers["targets"])
        fs.remove(begun)
        return self.fingerprint()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the first root, by which people recognise it."""
        return hashlib.sha256(self._read("1.root.json").encode()).hexdigest()

    def releases(self) -> tuple[tuple[str, str, ReleaseTerms], ...]:
        """Return name, digest of the manifest and terms of every release."""
        targets = self._load("targets.json", Targets)
        return tuple(
            (name, target.hashes["sha256"], from_json(target.custom, ReleaseTerms))
            for name, target in sorted(targets.targets.items())
        )

    def find(self, name: str) -> tuple[str, ReleaseTerms] | None:
        """Return digest of the manifest and terms of what a name stands for; None when nothing was signed under it."""
        return next(((digest, terms) for known, digest, terms in self.releases() if known == name), None)

    def next_counter(self, name: str) -> int:
        """Return the counter of the next release of a name."""
        found = self.find(name)
        return 1 if found is None else found[1].counter + 1

    def sign(self, name: str, digest: str, size_bytes: int, terms: ReleaseTerms) -> None:
        """Let a name stand for an artifact from now on.

        Args:
            name: of the deployment.
            digest: SHA-256 of the artifact's manifest.
            size_bytes: its size.
            terms: what devices hold it against.

        Raises:
            InvalidInputError: the name is not possible, or the counter does not rise.
            NotFoundError: a key is not here.
        """
        if terms.counter < self.next_counter(check_deployment_name(name)):
            raise InvalidInputError(f"{name}: the counter {terms.counter} does not rise.")
        targets = self._load("targets.json", Targets)
        targets.version += 1
        targets.expires = self._expiry("targets")
        targets.targets[name] = TargetFile(size_bytes, {"sha256": digest}, name, {"custom": to_json(terms)})
        self._publish(targets, self._signers("targets"))

    def bundle(self) -> ReleaseBundle:
        """Return what a device needs, with a timestamp of now; only the controller's own keys are used.

        Raises:
            NotFoundError: nothing was ever signed here.
        """
        self._publish_online()
        return ReleaseBundle(
            roots=tuple(self._read(f"{version}.root.json") for version in range(1, self._root_version() + 1)),
            timestamp=self._read("timestamp.json"),
            snapshot=self._read("snapshot.json"),
            targets=self._read("targets.json"),
        )

    def rotate(self, role: str) -> int:
        """Replace the keys of a role and return the version of the new root; old and new root keys sign it.

        Raises:
            InvalidInputError: there is no such role.
            NotFoundError: a key is not here.
        """
        if role not in ROLES:
            raise InvalidInputError(f"there is no role {role[:40]!r}; there are {', '.join(ROLES)}.")
        version = self._root_version()
        root = self._load(f"{version}.root.json", Root)
        old = self._signers("root")
        fresh = [self._ring(role).create(f"{name}.{version + 1}") for name in _KEYS[role]]
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        for signer in fresh:
            root.add_key(signer.public_key, role)
        root.version, root.expires = version + 1, self._expiry("root")
        self._write(f"{version + 1}.root.json", root, [*old, *(fresh if role == "root" else ())])
        if role == "targets":
            targets = self._load("targets.json", Targets)
            targets.version += 1
            self._publish(targets, fresh)
        elif role != "root":
            self._publish_online()
        return version + 1

    def _root_version(self) -> int:
        version = 1
        while (self._directory / f"{version + 1}.root.json").exists():
            version += 1
        return version

    def _ring(self, role: str) -> KeyRing:
        return self._offline if role in ("root", "targets") else self._online

    def _signers(self, role: str) -> list[CryptoSigner]:
        """Return the role's present keys: each rotation named its files by the root that brought them."""
        root = self._load(f"{self._root_version()}.root.json", Root)
        wanted, found = set(root.roles[role].keyids), []
        for name in _KEYS[role]:
            for version in range(self._root_version(), 0, -1):
                try:
                    signer = self._ring(role).open(name if version == 1 else f"{name}.{version}")
                except NotFoundError:
                    if version == 1:
                        raise
                    continue
                if signer.public_key.keyid in wanted:
                    found.append(signer)
                    break
        if len(found) != len(wanted):
            raise NotFoundError(
                f"the present keys of {role} are not here.", next_step="Name where with --keys."
            )
        return found

    def _publish(self, targets: Targets, signers: list[CryptoSigner]) -> None:
        self._write("targets.json", targets, signers)
        self._publish_online()

    def _publish_online(self) -> None:
        """Sign snapshot and timestamp anew over what stands there."""
        targets = self._load("targets.json", Targets)
        snapshot = self._kept("snapshot.json", Snapshot)
        snapshot = Snapshot(version=1) if snapshot is None else snapshot
        snapshot.version, snapshot.expires = snapshot.version + 1, self._expiry("snapshot")
        snapshot.meta = {"targets.json": MetaFile(version=targets.version)}
        self._write("snapshot.json", snapshot, self._signers("snapshot"))
        timestamp = self._kept("timestamp.json", Timestamp)
        timestamp = Timestamp(version=1) if timestamp is None else timestamp
        timestamp.version, timestamp.expires = timestamp.version + 1, self._expiry("timestamp")
        timestamp.snapshot_meta = MetaFile(version=snapshot.version)
        timestamp.unrecognized_fields[SIGNED_FIELD] = int(self._clock())
        self._write("timestamp.json", timestamp, self._signers("timestamp"))

    def _expiry(self, role: str) -> datetime:
        now = datetime.fromtimestamp(int(self._clock()), timezone.utc)
        return now + timedelta(days=_LIFE[role])

    def _write(self, name: str, signed: T, signers: list[CryptoSigner]) -> None:
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        fs = OsFileSystem()
        make_durable_directory(fs, self._directory)
        write_durably(fs, self._directory / name, metadata.to_bytes(JSONSerializer(compact=True)))

    def _kept(self, name: str, kind: type[T]) -> T | None:
        return self._load(name, kind) if (self._directory / name).exists() else None

    def _load(self, name: str, kind: type[T]) -> T:
        try:
            metadata = Metadata[kind].from_bytes(self._read(name).encode())
        except (RepositoryError, json.JSONDecodeError, ValueError) as error:
            raise CorruptDataError(f"{self._directory / name} cannot be read: {error}.") from error
        signed: T = metadata.signed
        return signed

    def _read(self, name: str) -> str:
        try:
            return (self._directory / name).read_text()
        except FileNotFoundError:
            raise NotFoundError(
                f"there are no releases in {self._directory}.",
                next_step="Make the keys: edgeloop release init.",
            ) from None
