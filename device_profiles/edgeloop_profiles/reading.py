"""Profiles from files: those shipped here by name, others by path."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError

from edgeloop_profiles.profile import Profile
from edgeloop_profiles.schema import build

__all__ = ["list_profiles", "load_profile", "parse_toml"]

_BOARDS = Path(__file__).parent / "boards"


def list_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that are shipped, sorted."""
    return tuple(sorted(path.stem for path in _BOARDS.glob("*.toml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """Return the profile of this name, or the one in this ``.toml`` file.

    Raises:
        NotFoundError: there is none of this name, or no such file.
        InvalidInputError: the file is not TOML, or a field does not hold what it should.
        MissingDependencyError: this Python has no ``tomllib``.
    """
    path = _locate(name_or_path)
    content = path.read_bytes()
    profile = build(Profile, parse_toml(content, path.name), f"{path.name}: ")
    if profile.name != path.stem:
        raise InvalidInputError(f"{path.name}: name: found {profile.name!r}, allowed is {path.stem!r}.")
    return dataclasses.replace(profile, digest=hashlib.sha256(content).hexdigest())


def _locate(name_or_path: str | Path) -> Path:
    if str(name_or_path) in list_profiles():
        return _BOARDS / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if path.suffix == ".toml" and path.is_file():
        return path
    raise NotFoundError(
        f"there is no profile {str(name_or_path)!r}, neither by that name nor as a .toml file.",
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
