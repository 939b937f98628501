"""What devices last said about themselves: one file a device, apart from the inventory that people edit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.facts import Facts

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import KnownFacts

__all__ = ["KnownFactsStore"]


class KnownFactsStore:
    """``facts/`` below the controller's home."""

    def __init__(self, home: Path, fs: FileSystem | None = None) -> None:
        self._fs = fs or OsFileSystem()
        self._directory = home / "facts"

    def _path(self, name: str) -> Path:
        # A name may hold anything, a file's name may not.
        return self._directory / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def keep(self, spec: DeviceSpec, facts: Facts, now_s: float) -> None:
        """Remember what a device said now."""
        tree = {
            "name": spec.name,
            "address": f"{spec.transport}:{spec.address}",
            "seen_s": now_s,
            "facts": to_json(facts),
        }
        self._fs.make_directory(self._directory)
        write_durably(self._fs, self._path(spec.name), json.dumps(tree).encode())

    def get(self, spec: DeviceSpec) -> KnownFacts | None:
        """Return what was last known of a device; None when it never answered at this address.

        Raises:
            InvalidInputError: the file is damaged.
        """
        path = self._path(spec.name)
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            address, seen_s = str(tree["address"]), float(tree["seen_s"])
            facts = from_json(tree["facts"], Facts)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"{path} does not hold the facts of {spec.name}.",
                next_step=f"Remove it and ask again: edgeloop device facts --on {spec.name}",
            ) from error
        if address != f"{spec.transport}:{spec.address}":
            return None
        return KnownFacts(address=address, seen_s=seen_s, facts=facts)
