"""Metadata of releases signed in memory, every field open to whoever forges: what one can make of any key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from edgeloop_agent.trust.verify import SIGNED_FIELD
from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.artifact import FileEntry
from edgeloop_protocol.types.deployment import ReleaseBundle, ReleaseTerms
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

__all__ = ["DAY_S", "GOLDEN", "LIFE_S", "NAME", "ROLES", "YEAR_S", "Forge", "Keys", "make_keys"]

NAME = "demo"
DAY_S = 86_400
YEAR_S = 365 * DAY_S
ROLES = ("root", "targets", "snapshot", "timestamp")
LIFE_S = {"root": YEAR_S, "targets": 90 * DAY_S, "snapshot": 7 * DAY_S, "timestamp": 7 * DAY_S}
GOLDEN = FileEntry(name="golden.npz", digest="1" * 64, size_bytes=3)
Keys = dict[str, list[CryptoSigner]]


def make_keys() -> Keys:
    """Return new keys as a fleet has them: two for the root, one for every other role."""
    return {
        role: [CryptoSigner.generate_ed25519() for _ in range(2 if role == "root" else 1)] for role in ROLES
    }


def _text(signed: Signed, signers: Sequence[CryptoSigner]) -> str:
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(JSONSerializer(compact=True)).decode()


@dataclass(kw_only=True)
class Forge:
    """One fleet's releases; release ``n`` has version, counter and digest ``n``."""

    now_s: float
    keys: Keys = field(default_factory=make_keys)

    def _signers(self, role: str, by: str | None) -> list[CryptoSigner]:
        return [] if by == "nobody" else self.keys[by or role]

    def _expires(self, role: str, left_s: float | None) -> datetime:
        ends_s = self.now_s + (LIFE_S[role] if left_s is None else left_s)
        return datetime.fromtimestamp(int(ends_s), timezone.utc)

    def root(
        self,
        version: int = 1,
        *,
        by: Sequence[CryptoSigner] | None = None,
        keys: Keys | None = None,
        threshold: int = 2,
        left_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a root that names ``keys``, signed by ``by``."""
        root = Root(
            version=version,
            expires=self._expires("root", left_s),
            consistent_snapshot=False,
            unrecognized_fields=dict(extra or {}),
        )
        for role, held in (keys or self.keys).items():
            for signer in held:
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = threshold
        return _text(root, self.keys["root"] if by is None else by)

    def targets(
        self,
        version: int,
        *,
        by: str | None = None,
        counter: int | None = None,
        digest: str = "",
        left_s: float | None = None,
        custom: Any = None,
        hashes: dict[str, str] | None = None,
        name: str = NAME,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Return targets with one release."""
        digest = digest or str(version) * 64
        terms = ReleaseTerms(
            counter=version if counter is None else counter,
            format="onnx",
            files=(GOLDEN,),
            golden_digest=GOLDEN.digest,
        )
        fields = {} if custom is False else {"custom": to_json(terms) if custom is None else custom}
        target = TargetFile(10, hashes or {"sha256": digest}, name, fields)
        targets = Targets(
            version=version,
            expires=self._expires("targets", left_s),
            targets={name: target},
            unrecognized_fields=dict(extra or {}),
        )
        return _text(targets, self._signers("targets", by))

    def snapshot(
        self,
        version: int,
        *,
        by: str | None = None,
        lists: int | None = None,
        left_s: float | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a snapshot that lists the targets of version ``lists``."""
        snapshot = Snapshot(
            version=version,
            expires=self._expires("snapshot", left_s),
            meta={"targets.json": MetaFile(version=version if lists is None else lists)},
            unrecognized_fields=dict(extra or {}),
        )
        return _text(snapshot, self._signers("snapshot", by))

    def timestamp(
        self,
        version: int,
        *,
        by: str | None = None,
        lists: int | None = None,
        left_s: float | None = None,
        said: Any = ...,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a timestamp that lists the snapshot of version ``lists`` and says when it was signed."""
        fields = dict(extra or {})
        if said is not None:
            fields[SIGNED_FIELD] = int(self.now_s) if said is ... else said
        timestamp = Timestamp(
            version=version,
            expires=self._expires("timestamp", left_s),
            snapshot_meta=MetaFile(version=version if lists is None else lists),
            unrecognized_fields=fields,
        )
        return _text(timestamp, self._signers("timestamp", by))

    def role(self, role: str, version: int, **changes: Any) -> str:
        """Return the file of any role but the root."""
        make = {"targets": self.targets, "snapshot": self.snapshot, "timestamp": self.timestamp}[role]
        return make(version, **changes)

    def bundle(self, version: int, *, roots: Sequence[str] = (), **files: str) -> ReleaseBundle:
        """Return release ``version``, with some of its files replaced."""
        return ReleaseBundle(
            roots=tuple(roots) or (self.root(),),
            **{role: files.get(role) or self.role(role, version) for role in ROLES[1:]},
        )

    def later(self, seconds: float) -> Forge:
        """Return the same keys at another time."""
        return Forge(now_s=self.now_s + seconds, keys=self.keys)
