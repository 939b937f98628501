"""What survives of the leases: the fencing token, the granted leases and the order to drain, durably; the last
heartbeats, nearly so."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError
from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.lease import LeaseRequest

from edgeloop_agent.sealed import seal, unseal_object

__all__ = ["LeaseJournal", "StoredLease"]

# Added to the token when its file is spoiled: more grants than a device sees in its life.
_TOKEN_SKIP = 1 << 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLease:
    """A granted lease as an earlier process of the agent left it."""

    #: Identifier given by the agent.
    lease_id: str
    #: What was asked for.
    request: LeaseRequest
    #: Fencing token of the grant.
    token: int
    #: Monotonic time until which it holds.
    until_ns: int


class LeaseJournal:
    """The files of the leases; methods block on the disk."""

    def __init__(self, *, fs: FileSystem, clock: Clock, root: Path, boot_id: str) -> None:
        self._fs = fs
        self._clock = clock
        self._root = root
        self._boot_id = boot_id
        self._path = root / "lease.json"
        self._heartbeat_path = root / "heartbeat.json"
        self._drain_path = root / "drain.json"

    def load(self, token_floor: int) -> tuple[int, tuple[StoredLease, ...]]:
        """Return the highest token ever given out and the leases that were granted.

        A spoiled file is set aside, and the token jumps ahead of everything that could have stood in it.
        """
        make_durable_directory(self._fs, self._root)
        for name, _ in self._fs.entries(self._root):
            if name.endswith(".tmp"):
                self._fs.remove(self._root / name)
        if not self._fs.exists(self._path):
            return token_floor, ()
        try:
            tree = unseal_object(self._fs.read(self._path))
            token = max(int(tree["token"]), token_floor)
            # An agent from before shared leases wrote one, or none.
            stored = tree["leases"] if "leases" in tree else [tree["lease"]] if tree["lease"] else []
            heartbeats = self._heartbeats() if stored else {}
            return token, tuple(self._revive(one, heartbeats) for one in stored)
        except (CorruptDataError, ValueError, KeyError, TypeError) as error:
            _log.error("%s is set aside: %s", self._path, error)
            token = token_floor + _TOKEN_SKIP
            self._fs.rename(self._path, self._path.with_suffix(".corrupt"))
            self.store((), token)
            return token, ()

    def _revive(self, tree: dict[str, Any], heartbeats: Mapping[str, int]) -> StoredLease:
        request = from_json(tree["request"], LeaseRequest)
        now = self._clock.monotonic_ns()
        left_ns = int(request.ttl_s * 1e9)
        if (until_ns := heartbeats.get(tree["lease_id"])) is not None:
            left_ns = min(left_ns, until_ns - now)
        return StoredLease(
            lease_id=tree["lease_id"], request=request, token=int(tree["token"]), until_ns=now + left_ns
        )

    def _heartbeats(self) -> dict[str, int]:
        """Return when the last heartbeats run out, by lease; none that were in another boot or cannot be read."""
        try:
            tree = unseal_object(self._fs.read(self._heartbeat_path))
            if tree["boot_id"] == self._boot_id:
                return {str(name): int(until_ns) for name, until_ns in tree["leases"].items()}
        except (CorruptDataError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("the last heartbeat is unknown: %s", error)
        return {}

    def store(self, leases: Sequence[tuple[str, LeaseRequest, int]], token: int) -> None:
        """Keep durably who holds the device, as identifier, request and token, and the highest token ever given out."""
        trees = [_lease_tree(lease_id, request, own) for lease_id, request, own in leases]
        # "lease" is what an agent from before shared leases reads, should it be put back.
        tree = {"token": token, "lease": trees[0] if trees else None, "leases": trees}
        write_durably(self._fs, self._path, seal(json.dumps(tree).encode()))

    def load_drain(self) -> tuple[str, str] | None:
        """Return why and by whom the device was drained; None when it is given out.

        A spoiled order still drains: a device that somebody took out of use comes back by a person's word only.
        """
        if not self._fs.exists(self._drain_path):
            return None
        try:
            tree = unseal_object(self._fs.read(self._drain_path))
            reason, drained_by = tree["reason"], tree["drained_by"]
            if isinstance(reason, str) and isinstance(drained_by, str) and reason and drained_by:
                return reason, drained_by
        except (CorruptDataError, ValueError, KeyError, TypeError) as error:
            _log.error("%s is spoiled: %s", self._drain_path, error)
        return "the order to drain is spoiled, its reason is lost", "somebody unknown"

    def store_drain(self, reason: str, drained_by: str) -> None:
        """Keep durably that the device is drained."""
        tree = {"reason": reason, "drained_by": drained_by}
        write_durably(self._fs, self._drain_path, seal(json.dumps(tree).encode()))

    def clear_drain(self) -> None:
        """Keep durably that the device is given out."""
        if self._fs.exists(self._drain_path):
            self._fs.remove(self._drain_path)
            self._fs.sync_directory(self._root)

    def heartbeat(self, until_ns: Mapping[str, int]) -> None:
        """Keep until when each lease holds, over a restart of the agent.

        Not synced: a power cut costs no more than falling back to one whole time to live, and a memory card
        would not last under a sync for every heartbeat.
        """
        tree = {"boot_id": self._boot_id, "leases": dict(until_ns)}
        temporary = self._root / f"heartbeat.{secrets.token_hex(6)}.tmp"
        file = self._fs.create(temporary)
        try:
            file.write(seal(json.dumps(tree).encode()))
        finally:
            file.close()
        self._fs.rename(temporary, self._heartbeat_path)


def _lease_tree(lease_id: str, request: LeaseRequest, token: int) -> dict[str, Any]:
    return {"lease_id": lease_id, "token": token, "request": to_json(request)}
