"""Names that people give to kept artifacts: one small file, changed under a lock."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_foundation.locks import held_alone
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably

__all__ = ["TagStore", "check_tag"]

_TAG = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_tag(tag: str) -> str:
    """Return a tag if it can be one; what could be the beginning of a digest is none.

    Raises:
        InvalidInputError: see above.
    """
    if not _TAG.fullmatch(tag) or re.fullmatch(r"[0-9a-f]{6,64}", tag):
        raise InvalidInputError(
            f"{tag[:80]!r} cannot be a tag: 1 to 63 lower-case letters, digits, '.', '_' and '-', a letter or digit "
            "at both ends, and nothing that could be the beginning of a digest."
        )
    return tag


class TagStore:
    """``models/tags.json`` below the controller's home."""

    def __init__(self, home: Path, fs: FileSystem | None = None) -> None:
        self._fs = fs or OsFileSystem()
        self._directory = home / "models"

    @property
    def _path(self) -> Path:
        return self._directory / "tags.json"

    def all(self) -> dict[str, str]:
        """Return the digest that each tag stands for, by the tag.

        Raises:
            CorruptDataError: the file is damaged.
        """
        if not self._fs.exists(self._path):
            return {}
        try:
            tree = json.loads(self._fs.read(self._path))
            if not isinstance(tree, dict) or not all(_DIGEST.fullmatch(str(v)) for v in tree.values()):
                raise ValueError
        except ValueError:
            raise CorruptDataError(
                f"{self._path} does not hold tags.", next_step="Remove it and tag again."
            ) from None
        return {str(tag): str(digest) for tag, digest in sorted(tree.items())}

    def put(self, tag: str, digest: str) -> str:
        """Let a tag stand for an artifact from now on and return what it stood for before, empty for nothing.

        Raises:
            InvalidInputError: it cannot be a tag.
        """
        check_tag(tag)
        with self._changing() as tags:
            before = tags.get(tag, "")
            tags[tag] = digest
        return before

    def remove(self, tag: str) -> str:
        """Forget a tag and return what it stood for.

        Raises:
            NotFoundError: there is none of that name.
        """
        with self._changing() as tags:
            if tag not in tags:
                listed = ", ".join(sorted(tags)) or "none"
                raise NotFoundError(
                    f"no artifact has the tag {tag[:80]!r}.", next_step=f"There are: {listed}."
                )
            return tags.pop(tag)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        self._fs.make_directory(self._directory)
        with held_alone(self._directory / "lock"):
            tags = self.all()
            yield tags
            write_durably(self._fs, self._path, json.dumps(tags, sort_keys=True).encode())
