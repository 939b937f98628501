"""The devices that were added: one TOML file that a person can read, edit and keep under version control."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, NotFoundError, UnsupportedError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably

from edgeloop.domain.device import DeviceSpec

__all__ = ["DeviceBook"]

_HEADER = "# Devices added with: edgeloop device add. Edit as you like; edgeloop.toml wins over it.\n"


class DeviceBook:
    """``devices.toml`` below the controller's home, in the form of the table ``[devices]`` of edgeloop.toml."""

    def __init__(self, home: Path, fs: FileSystem | None = None) -> None:
        self._fs = fs or OsFileSystem()
        self.path = home / "devices.toml"

    def devices(self) -> dict[str, DeviceSpec]:
        """Return every device by its name.

        Raises:
            InvalidInputError: the file is not in its form.
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
            return {name: self._spec(name, table) for name, table in tree.get("devices", {}).items()}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{self.path} is not TOML: {error}.") from error

    def _spec(self, name: str, table: object) -> DeviceSpec:
        if not isinstance(table, dict) or not isinstance(table.get("address"), str):
            raise InvalidInputError(
                f"{self.path}: device {name} has no address.",
                next_step='Write it as [devices.NAME] with address = "ssh:USER@HOST".',
            )
        plain = DeviceSpec.parse(f"{name}={table['address']}")
        options = tuple(sorted((key, str(value)) for key, value in table.get("options", {}).items()))
        return DeviceSpec(name=name, transport=plain.transport, address=plain.address, options=options)

    def get(self, name: str) -> DeviceSpec:
        """Return a device.

        Raises:
            NotFoundError: none of that name was added.
        """
        found = self.devices()
        if name not in found:
            raise NotFoundError(
                f"no device {name!r} was added; there are {', '.join(found) or 'none'}.",
                next_step="Add it: edgeloop device add USER@HOST",
            )
        return found[name]

    def put(self, spec: DeviceSpec) -> None:
        """Add a device, or replace the one of that name."""
        self._write({**self.devices(), spec.name: spec})

    def remove(self, name: str) -> None:
        """Take a device out."""
        self._write({key: spec for key, spec in self.devices().items() if key != name})

    def _write(self, devices: dict[str, DeviceSpec]) -> None:
        lines = [_HEADER]
        for name, spec in sorted(devices.items()):
            # A JSON string is a TOML basic string.
            lines.append(
                f"\n[devices.{json.dumps(name)}]\naddress = {json.dumps(f'{spec.transport}:{spec.address}')}\n"
            )
            if spec.options:
                pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in spec.options)
                lines.append(f"options = {{ {pairs} }}\n")
        self._fs.make_directory(self.path.parent)
        write_durably(self._fs, self.path, "".join(lines).encode())
