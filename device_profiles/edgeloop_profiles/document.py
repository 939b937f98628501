"""Files that carry ``apiVersion`` and ``kind``: fleet files and fault scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError

from edgeloop_profiles.reading import parse_toml

__all__ = ["API_VERSION", "read_document"]

API_VERSION = "edgeloop/v1"


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Return the fields of a TOML file of this kind, without those that say what it is.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: it is not TOML, or of another kind.
        MissingDependencyError: this Python has no ``tomllib``.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"there is no file {path}.", next_step=f"Write a {kind} file there.") from error
    tree = parse_toml(content, path.name)
    for key, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        found = tree.pop(key, None)
        if found != wanted:
            raise InvalidInputError(
                f"{path.name}: {key}: found {'nothing' if found is None else repr(found)}, "
                f"allowed is {wanted!r}.",
                next_step=f'Begin the file with apiVersion = "{API_VERSION}" and kind = "{kind}".',
            )
    return tree
