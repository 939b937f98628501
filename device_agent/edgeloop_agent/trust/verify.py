"""A bundle against what the device remembers: python-tuf's client workflow, then our floors.

Order: clock, sizes, signatures and versions (the TUF specification, 5.3 to 5.6, by ``tuf.ngclient``), expiry at the
device's time, floors, the target and its terms. Nothing is written here; the caller keeps the new state.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import AccessDeniedError, InvalidInputError, StateError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.deployment import ReleaseBundle, ReleaseTerms
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import Metadata, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from edgeloop_agent.trust_files import Counter, RoleFloor, TrustedMetadata, TrustFloor, TrustState

__all__ = ["SIGNED_FIELD", "Verified", "pin", "verify"]

SIGNED_FIELD = "x-edgeloop-signed-s"
"""Field of the timestamp: when it was signed, in whole seconds since 1970."""

_CLOCK_SLACK_S = 300
_ROLE_BYTES_MAX = 1 << 20
_TIMESTAMP_BYTES_MAX = 1 << 14
_ROOTS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A release that holds."""

    #: What the device remembers from now on.
    state: TrustState
    #: SHA-256 of the artifact's manifest.
    digest: str
    #: Size of the manifest in bytes.
    size_bytes: int
    #: What was signed beside it.
    terms: ReleaseTerms


class _BundleFetcher(FetcherInterface):  # type: ignore[misc]
    """Serves the files of a bundle; there is no network."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        if name not in self._files:
            raise DownloadHTTPError(f"the bundle has no {name}", 404)
        yield self._files[name]


def _refusal(why: object) -> AccessDeniedError:
    return AccessDeniedError(f"the release is refused: {str(why).rstrip('.')}.")


def pin(root: str) -> TrustState:
    """Return the state of a device that trusts ``root`` and has accepted nothing yet.

    Raises:
        InvalidInputError: it is no root that its own keys signed.
    """
    try:
        loaded = Metadata[Root].from_bytes(root.encode())
        loaded.verify_delegate(Root.type, loaded)
    except (RepositoryError, ValueError) as error:
        raise InvalidInputError(f"the root cannot be pinned: {str(error).rstrip('.')}.") from error
    return TrustState(
        floor=TrustFloor(root_version=loaded.signed.version), metadata=TrustedMetadata(root=root)
    )


def verify(state: TrustState, bundle: ReleaseBundle, name: str, now_s: float) -> Verified:
    """Return the release of ``name`` in ``bundle`` and the state that accepting it leaves.

    Args:
        state: what the device remembers.
        bundle: hostile until proved otherwise.
        name: name of the deployment.
        now_s: the device's clock, seconds since 1970.

    Raises:
        StateError: CLOCK_UNTRUSTED: the clock shows a time before one that was proved.
        AccessDeniedError: the bundle does not hold.
    """
    if now_s + _CLOCK_SLACK_S < state.floor.time_floor_s:
        raise _clock(now_s, state.floor.time_floor_s)
    _check_sizes(bundle)
    try:
        accepted, target = _update(state.metadata, bundle, name)
        loaded = _load(accepted)
        signed_s = _check_times(loaded, now_s)
        floor = _raised(state.floor, loaded, signed_s)
        terms = _terms(target)
    except (RepositoryError, DownloadError, InvalidInputError, ValueError, RecursionError) as error:
        raise _refusal(error) from error
    digest = target.hashes.get("sha256", "")
    floor = _counted(floor, Counter(name=name, counter=terms.counter, digest=digest))
    return Verified(
        state=TrustState(floor=floor, metadata=accepted),
        digest=digest,
        size_bytes=target.length,
        terms=terms,
    )


def _clock(now_s: float, floor_s: float) -> StateError:
    return StateError(
        f"CLOCK_UNTRUSTED: the device's clock shows {_said(now_s)}, but a signature proves {_said(floor_s)}.",
        next_step="Set its clock; until then it serves what is committed and accepts nothing new.",
    )


def _said(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _check_sizes(bundle: ReleaseBundle) -> None:
    if not 1 <= len(bundle.roots) <= _ROOTS_MAX:
        raise _refusal(f"a bundle has 1 to {_ROOTS_MAX} roots, this one {len(bundle.roots)}")
    sized = [(text, _ROLE_BYTES_MAX) for text in (*bundle.roots, bundle.snapshot, bundle.targets)]
    for text, limit in (*sized, (bundle.timestamp, _TIMESTAMP_BYTES_MAX)):
        if len(text.encode()) > limit:
            raise _refusal(f"a file of the bundle has {len(text.encode())} bytes, at most {limit} are read")


def _update(known: TrustedMetadata, bundle: ReleaseBundle, name: str) -> tuple[TrustedMetadata, TargetFile]:
    """Let python-tuf walk from what is known to what came, in a directory that does not outlive it."""
    files = {
        "timestamp.json": bundle.timestamp.encode(),
        "snapshot.json": bundle.snapshot.encode(),
        "targets.json": bundle.targets.encode(),
    }
    for root in bundle.roots:
        version = Metadata[Root].from_bytes(root.encode()).signed.version
        files[f"{version}.root.json"] = root.encode()
    with tempfile.TemporaryDirectory() as text:
        directory = Path(text)
        for role in ("timestamp", "snapshot", "targets"):
            if kept := getattr(known, role):
                (directory / f"{role}.json").write_text(kept)
        updater = Updater(
            metadata_dir=text,
            metadata_base_url="bundle://metadata/",
            fetcher=_BundleFetcher(files),
            config=UpdaterConfig(
                max_root_rotations=_ROOTS_MAX,
                timestamp_max_length=_TIMESTAMP_BYTES_MAX,
                snapshot_max_length=_ROLE_BYTES_MAX,
                targets_max_length=_ROLE_BYTES_MAX,
            ),
            bootstrap=known.root.encode(),
        )
        updater.refresh()
        target = updater.get_targetinfo(name)
        read = {role: (directory / f"{role}.json").read_text() for role in (Root.type, *_ROLES)}
    if target is None:
        raise InvalidInputError(f"it names no deployment {name!r}.")
    return TrustedMetadata(**read), target


_ROLES = (Timestamp.type, Snapshot.type, Targets.type)


def _load(accepted: TrustedMetadata) -> dict[str, Any]:
    return {
        role: Metadata.from_bytes(getattr(accepted, role).encode()).signed for role in (Root.type, *_ROLES)
    }


def _check_times(loaded: Mapping[str, Signed], now_s: float) -> int:
    """Return when the timestamp was signed.

    Raises:
        InvalidInputError: something has expired at the device's time, or the timestamp does not say when.
        StateError: the clock shows a time before that.
    """
    now = datetime.fromtimestamp(now_s, timezone.utc)
    for role, signed in loaded.items():
        if signed.is_expired(now):
            raise InvalidInputError(f"{role}.json expired at {signed.expires:%Y-%m-%d %H:%M} UTC.")
    signed_s = loaded[Timestamp.type].unrecognized_fields.get(SIGNED_FIELD)
    if type(signed_s) is not int or signed_s < 0:
        raise InvalidInputError(f"timestamp.json lacks {SIGNED_FIELD}.")
    if now_s + _CLOCK_SLACK_S < signed_s:
        raise _clock(now_s, signed_s)
    return signed_s


def _raised(floor: TrustFloor, loaded: Mapping[str, Any], signed_s: int) -> TrustFloor:
    """Return the floor that these versions leave.

    Raises:
        InvalidInputError: one is lower.
    """
    root: Root = loaded[Root.type]
    if root.version < floor.root_version:
        raise InvalidInputError(f"root.json has version {root.version}, below {floor.root_version}.")
    known = {entry.role: entry for entry in floor.roles}
    roles = []
    for role in _ROLES:
        keys = hashlib.sha256(" ".join(sorted(root.roles[role].keyids)).encode()).hexdigest()
        entry = known.get(role)
        version = loaded[role].version
        if entry is not None and entry.keys == keys and version < entry.version:
            raise InvalidInputError(f"{role}.json has version {version}, below {entry.version}.")
        roles.append(RoleFloor(role=role, version=version, keys=keys))
    return replace(
        floor,
        root_version=root.version,
        roles=tuple(roles),
        time_floor_s=max(floor.time_floor_s, signed_s),
    )


def _terms(target: TargetFile) -> ReleaseTerms:
    if set(target.hashes) != {"sha256"}:
        raise InvalidInputError("its target is not named by SHA-256 alone.")
    return from_json(target.custom, ReleaseTerms)


def _counted(floor: TrustFloor, entry: Counter) -> TrustFloor:
    """Return the floor with this release's counter.

    Raises:
        AccessDeniedError: it is lower, or the same with another content.
    """
    known = next((one for one in floor.counters if one.name == entry.name), None)
    if known is not None and entry.counter < known.counter:
        raise _refusal(
            f"{entry.name} has counter {entry.counter}, {known.counter} was accepted before; sign the older "
            "artifact again to go back to it on purpose"
        )
    if known is not None and entry.counter == known.counter and entry.digest != known.digest:
        raise _refusal(f"{entry.name} has counter {entry.counter} for a second artifact")
    others = tuple(one for one in floor.counters if one.name != entry.name)
    return replace(floor, counters=(*others, entry))
