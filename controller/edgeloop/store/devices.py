"""The inventory: one TOML file of named devices that a person can read, edit and keep under version control.

What is *found out* about a device (facts, host keys, identities) is kept elsewhere, so that this file changes only when
a person, or a verb that a person called, changes it.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError, UnsupportedError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry
from edgeloop.store.toml_lines import edited

__all__ = ["DeviceBook"]

_HEADER = "# Devices added with: edgeloop device add. Edit as you like; edgeloop.toml wins over it.\n"
_KEYS: Mapping[str, tuple[type, str]] = {
    "address": (str, 'a text like "ssh:USER@HOST"'),
    "options": (dict, 'a table of texts like { key = "value" }'),
    "labels": (dict, 'a table of texts like { rack = "3" }'),
    "groups": (list, 'a list of texts like ["lab"]'),
}


class DeviceBook:
    """``devices.toml`` below the controller's home, or another file of this form.

    Each device is a table ``[devices.NAME]`` with ``address`` and, if wanted, ``options``, ``labels`` and ``groups``.
    """

    def __init__(self, home: Path, fs: FileSystem | None = None, *, path: Path | None = None) -> None:
        self._fs = fs or OsFileSystem()
        self.path = path or home / "devices.toml"

    def devices(self) -> dict[str, DeviceSpec]:
        """Return how every device is reached, by its name.

        Raises:
            InvalidInputError: the file is not in its form.
            UnsupportedError: this Python has no TOML reader.
        """
        return {name: entry.spec for name, entry in self.entries().items()}

    def entries(self) -> dict[str, InventoryEntry]:
        """Return every device with its labels and groups, by its name, in the file's order.

        Raises:
            InvalidInputError: the file is not in its form; names the field, what was found and what is allowed.
            UnsupportedError: this Python has no TOML reader.
        """
        if not self.path.is_file():
            return {}
        if sys.version_info < (3, 11):
            raise UnsupportedError(
                f"{self.path} cannot be read.", next_step="Run the controller on Python 3.11 or newer."
            )
        import tomllib

        try:
            tree = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{self.path} is not TOML: {error}.") from error
        for key in tree:
            if key != "devices":
                raise self._wrong(key, "a key of that name", "devices, with one table [devices.NAME] each")
        devices = tree.get("devices", {})
        if not isinstance(devices, dict):
            raise self._wrong("devices", repr(devices), "tables [devices.NAME]")
        return {name: self._entry(name, table) for name, table in devices.items()}

    def _wrong(self, field: str, found: str, allowed: str) -> InvalidInputError:
        return InvalidInputError(f"{self.path}: {field}: found {found}, allowed is {allowed}.")

    def _entry(self, name: str, table: object) -> InventoryEntry:
        if not isinstance(table, dict) or not isinstance(table.get("address"), str):
            raise InvalidInputError(
                f"{self.path}: device {name} has no address.",
                next_step='Write it as [devices.NAME] with address = "ssh:USER@HOST".',
            )
        for key, value in table.items():
            self._check(name, key, value)
        try:
            plain = DeviceSpec.parse(f"{name}={table['address']}")
            spec = DeviceSpec(
                name=name,
                transport=plain.transport,
                address=plain.address,
                options=tuple(sorted(table.get("options", {}).items())),
            )
            return InventoryEntry(
                spec=spec,
                labels=tuple(sorted(table.get("labels", {}).items())),
                groups=tuple(sorted(set(table.get("groups", [])))),
            )
        except InvalidInputError as error:
            raise InvalidInputError(f"{self.path}: {error.message}", next_step=error.next_step) from error

    def _check(self, name: str, key: str, value: object) -> None:
        field = f"devices.{name}.{key}"
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f" (nearest is {near[0]})" if near else ""
            raise self._wrong(field, "a key of that name", f"{', '.join(_KEYS)}{hint}")
        kind, allowed = _KEYS[key]
        texts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
            raise self._wrong(field, repr(value), allowed)

    def get(self, name: str) -> DeviceSpec:
        """Return how a device is reached.

        Raises:
            NotFoundError: none of that name was added.
        """
        return self.entry(name).spec

    def entry(self, name: str) -> InventoryEntry:
        """Return a device.

        Raises:
            NotFoundError: none of that name was added.
        """
        found = self.entries()
        if name not in found:
            raise NotFoundError(
                f"no device {name!r} was added; there are {', '.join(found) or 'none'}.",
                next_step="Add it: edgeloop device add USER@HOST",
            )
        return found[name]

    def put(self, spec: DeviceSpec) -> None:
        """Add a device, or replace how the one of that name is reached; its labels and groups stay."""
        known = self.entries().get(spec.name)
        self.put_entry(
            InventoryEntry(
                spec=spec, labels=known.labels if known else (), groups=known.groups if known else ()
            )
        )

    def put_entry(self, entry: InventoryEntry) -> None:
        """Add a device with its labels and groups, or replace the one of that name.

        Raises:
            UnsupportedError: the file is written in a form that cannot be edited without losing something.
        """
        self._write(entry.name, _table(entry))

    def remove(self, name: str) -> None:
        """Take a device out."""
        self._write(name, None)

    def _write(self, name: str, table: dict[str, Any] | None) -> None:
        self.entries()  # a file that is not in its form is refused before it is edited
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else _HEADER
        self._fs.make_directory(self.path.parent)
        write_durably(self._fs, self.path, edited(text, name, table).encode())


def _table(entry: InventoryEntry) -> dict[str, Any]:
    spec = entry.spec
    return {
        "address": _address(spec),
        **({"options": dict(spec.options)} if spec.options else {}),
        **({"labels": dict(entry.labels)} if entry.labels else {}),
        **({"groups": list(entry.groups)} if entry.groups else {}),
    }


def _address(spec: DeviceSpec) -> str:
    """Return the text form that reads back as the same device."""
    if spec.transport == "grpc":
        return spec.address if spec.address.startswith("unix:") else f"grpc://{spec.address}"
    return {"local": "local", "simulated": f"sim:{spec.address}"}.get(
        spec.transport, f"{spec.transport}:{spec.address}"
    )
