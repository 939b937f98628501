"""One lazy registry for every extension point: a built-in table, then entry points for outsiders."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from edgeloop_foundation.errors import MissingDependencyError, NotFoundError

__all__ = ["Registry"]

T = TypeVar("T")


def _entry_points(group: str) -> dict[str, str]:
    """Return name to "module:Class" of every entry point of a group, the first on the path first.

    Reads the files itself: importlib.metadata brings the mail and archive modules along, 3 MB in a daemon that has
    45.
    """
    found: dict[str, str] = {}
    for directory in sys.path:
        for file in sorted(Path(directory).glob("*.dist-info/entry_points.txt")):
            section = ""
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith("["):
                    section = line.strip(" []")
                elif section == group and "=" in line:
                    name, _, value = line.partition("=")
                    found.setdefault(name.strip(), value.partition("[")[0].strip())
    return found


class Registry(Generic[T]):
    """Drivers of one kind by name; a plug-in may not replace a built-in."""

    def __init__(self, kind: str, builtin: Mapping[str, str]) -> None:
        self._kind = kind
        self._builtin = dict(builtin)

    def names(self) -> tuple[str, ...]:
        """Return every known name, built-in first."""
        outside = _entry_points(f"edgeloop.{self._kind}")
        return (*self._builtin, *sorted(set(outside) - set(self._builtin)))

    def load(self, name: str) -> type[T]:
        """Return the driver's class.

        Raises:
            NotFoundError: no driver of that name.
            MissingDependencyError: the driver needs a package that is not installed.
        """
        path = self._builtin.get(name) or _entry_points(f"edgeloop.{self._kind}").get(name)
        if path is None:
            raise NotFoundError(f"unknown {self._kind} {name!r}; known are {', '.join(self.names())}.")
        module, _, attribute = path.partition(":")
        try:
            return cast("type[T]", getattr(importlib.import_module(module), attribute))
        except ModuleNotFoundError as error:
            raise self._missing(name, error) from error

    def _missing(self, name: str, error: ModuleNotFoundError) -> Any:
        package = (error.name or "a package").partition(".")[0]
        return MissingDependencyError(
            f"{self._kind} {name!r} needs the package {package!r}, which is not installed.",
            next_step=f"Install it, for example: pip install {package}",
        )
