"""What devices last said about one subject: one file a device, apart from the inventory that people edit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Generic, TypeVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably
from edgeloop_protocol.convert import from_json, to_json

from edgeloop.domain.device import DeviceSpec

__all__ = ["DeviceFiles"]

V = TypeVar("V")


class DeviceFiles(Generic[V]):
    """A directory of values of one class, each with the address that it came from and its time."""

    def __init__(
        self, directory: Path, kind: type[V], subject: str, ask: str, fs: FileSystem | None = None
    ) -> None:
        """Name the directory; nothing is read yet.

        Args:
            directory: where the files are.
            kind: class of the values.
            subject: what they are, in one word; the value's key in its file too.
            ask: command that asks a device anew; ``{name}`` stands for its name.
            fs: where the directory is.
        """
        self._fs = fs or OsFileSystem()
        self._directory, self._kind, self._subject, self._ask = directory, kind, subject, ask

    def _path(self, name: str) -> Path:
        # A name may hold anything, a file's name may not.
        return self._directory / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"

    def keep(self, spec: DeviceSpec, value: V, now_s: float) -> None:
        """Remember what a device said now."""
        tree = {
            "name": spec.name,
            "address": _address(spec),
            "seen_s": now_s,
            self._subject: to_json(value),
        }
        self._fs.make_directory(self._directory)
        write_durably(self._fs, self._path(spec.name), json.dumps(tree).encode())

    def get(self, spec: DeviceSpec) -> tuple[str, float, V] | None:
        """Return address, time and value that were last kept; None when it never answered at this address.

        Raises:
            InvalidInputError: the file is damaged.
        """
        path = self._path(spec.name)
        try:
            tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            address, seen_s = str(tree["address"]), float(tree["seen_s"])
            value = from_json(tree[self._subject], self._kind)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(
                f"{path} does not hold the {self._subject} of {spec.name}.",
                next_step=f"Remove it and ask again: {self._ask.format(name=spec.name)}",
            ) from error
        return (address, seen_s, value) if address == _address(spec) else None


def _address(spec: DeviceSpec) -> str:
    return f"{spec.transport}:{spec.address}"
