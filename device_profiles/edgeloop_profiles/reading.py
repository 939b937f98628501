"""Profiles from files: those shipped here by name, others by path."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError

from edgeloop_profiles.inherit import expander
from edgeloop_profiles.modes import in_power_mode
from edgeloop_profiles.profile import Profile, RuntimeModel
from edgeloop_profiles.schema import WRONG, TreeReader

__all__ = ["check_profile", "list_profiles", "load_profile", "parse_toml", "problems_of"]

_BOARDS = Path(__file__).parent / "boards"
_RUNTIMES = Path(__file__).parent / "runtimes"


def list_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that are shipped, sorted."""
    return _names(_BOARDS)


def load_profile(name_or_path: str | Path) -> Profile:
    """Return the profile of this name, or the one in this ``.toml`` file.

    ``NAME@MODE`` and ``FILE.toml@MODE`` choose a power mode; without one the profile's default holds.

    Raises:
        NotFoundError: there is none of this name, no such file, or no such power mode.
        InvalidInputError: the file is not TOML, or a field does not hold what it should.
        MissingDependencyError: this Python has no ``tomllib``.
    """
    text, mode = _split_mode(str(name_or_path))
    profile, problems = _read(_locate(text))
    if profile is None:
        raise problems[0]
    if mode:
        digest = hashlib.sha256(f"{profile.digest}@{mode}".encode()).hexdigest()
        chosen = in_power_mode(profile, mode)
        return dataclasses.replace(chosen, name=f"{profile.name}@{mode}", digest=digest)
    return in_power_mode(profile, profile.default_power_mode) if profile.default_power_mode else profile


def check_profile(name_or_path: str | Path) -> tuple[InvalidInputError, ...]:
    """Return every problem of a profile, in the order of its file; none when it is good.

    Raises:
        NotFoundError: there is none of this name, and no such file.
        InvalidInputError: the file is not TOML.
        MissingDependencyError: this Python has no ``tomllib``.
    """
    return _read(_locate(_split_mode(str(name_or_path))[0]))[1]


def problems_of(tree: object, name: str) -> tuple[InvalidInputError, ...]:
    """Return every problem of a profile's tree, in its order; ``name`` is that of the file in the sentences.

    Whether the profile is named after its file is not looked at.
    """
    return _build(tree, name, _Files())[1]


def _split_mode(text: str) -> tuple[str, str]:
    """Return name or path, and the power mode behind the last ``@``; a path may hold an ``@`` of its own."""
    head, sign, mode = text.rpartition("@")
    return (head, mode) if sign and "/" not in mode and not mode.endswith(".toml") else (text, "")


class _Files:
    """Reads files and remembers what they held, for the digest."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def tree(self, path: Path) -> object:
        content = self._contents[path.name] = path.read_bytes()
        return parse_toml(content, path.name)

    def digest(self) -> str:
        """Return SHA-256 of the file; where others were taken over, of the digests of all in order of reading."""
        digests = [hashlib.sha256(content).hexdigest() for content in self._contents.values()]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _read(path: Path) -> tuple[Profile | None, tuple[InvalidInputError, ...]]:
    files = _Files()
    tree = files.tree(path)
    profile, problems = _build(tree, path.name, files, stem=path.stem)
    if profile is None:
        return None, problems
    return dataclasses.replace(profile, digest=files.digest()), ()


def _build(
    tree: object, file: str, files: _Files, stem: str = ""
) -> tuple[Profile | None, tuple[InvalidInputError, ...]]:
    shared = expander(lambda name: files.tree(_RUNTIMES / f"{name}.toml"), _names(_RUNTIMES))
    reader = TreeReader({RuntimeModel: shared})
    profile = reader.table(Profile, tree, f"{file}: ")
    name = tree.get("name") if isinstance(tree, dict) else None
    if stem and isinstance(name, str) and name != stem:
        reader.note(f"{file}: name", repr(name), repr(stem))
    problems = tuple(reader.problems)
    return (None if problems or profile is WRONG else profile), problems


def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def _locate(name_or_path: str) -> Path:
    if name_or_path in list_profiles():
        return _BOARDS / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return path
    raise NotFoundError(
        f"there is no profile {name_or_path!r}, neither by that name nor as a .toml file.",
        next_step=f"Known names: {', '.join(list_profiles())}.",
    )


def parse_toml(content: bytes, name: str) -> dict[str, Any]:
    """Return what a TOML file of this name holds.

    Raises:
        InvalidInputError: it is not TOML.
        MissingDependencyError: this Python has no ``tomllib``.
    """
    try:
        import tomllib
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {name} needs Python 3.11 or later (tomllib).",
            next_step="Simulate on a newer Python; a real board needs no profile.",
        ) from error
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{name} is not TOML: {error}.") from error
