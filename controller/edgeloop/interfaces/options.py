"""Words of the command line and the configuration file to values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.artifact import StateBinding

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.selector import looks_like_condition

if TYPE_CHECKING:
    from edgeloop.interfaces.config import Config

__all__ = [
    "parse_bytes",
    "parse_devices",
    "parse_duration_s",
    "parse_grid",
    "parse_numbers",
    "parse_pairs",
    "parse_processors",
    "parse_share",
    "parse_state",
    "read_thresholds",
]

_NONE_ADDED: Mapping[str, DeviceSpec] = MappingProxyType({})
_NUMBER = r"(\d+(?:\.\d+)?)"
_BYTE_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_BYTES = re.compile(rf"{_NUMBER} ?(B|kB|MB|GB|KiB|MiB|GiB)", re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")


def parse_duration_s(text: str, *, zero: bool = False) -> float:
    """Read "90s", "10m", "1.5h", "250ms" or "1h30m" and return seconds.

    Args:
        zero: whether none at all, "0s", is a duration too.

    Raises:
        InvalidInputError: none of these, or nothing at all.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = [] if match is None else [float(part or 0) for part in match.groups()]
    total_s = sum(part * size for part, size in zip(parts, (3600, 60, 1, 1e-3), strict=False))
    if total_s <= 0 and not (zero and match is not None and text.strip()):
        raise InvalidInputError(f"a duration is written like 90s, 10m or 1h30m, found {text!r}.")
    return total_s


def parse_bytes(text: str, *, per_second: bool = False) -> float:
    """Read "500kB", "1.5MB", "2GiB" and return bytes.

    Args:
        per_second: whether it is a rate, written with "/s" at the end.

    Raises:
        InvalidInputError: it is none.
    """
    bare = text.strip()
    match = _BYTES.fullmatch(bare.removesuffix("/s") if per_second else bare)
    if match is None or (per_second and not bare.endswith("/s")):
        what, example = ("a rate", "1MB/s or 500kB/s") if per_second else ("a size", "500kB or 1.5GB")
        raise InvalidInputError(f"{what} is written like {example}, found {text!r}.")
    return float(match[1]) * _BYTE_UNITS[match[2]]


def parse_share(text: str) -> float:
    """Return a share of one that is written as 0.99 or 99 %.

    Raises:
        InvalidInputError: it is neither.
    """
    digits, percent = text.strip().removesuffix("%").strip(), text.strip().endswith("%")
    try:
        value = float(digits) / (100.0 if percent else 1.0)
    except ValueError:
        value = -1.0
    if not 0.0 < value <= 1.0:
        raise InvalidInputError(f"{text!r} is no share.", next_step="Write 99% or 0.99.")
    return value


def parse_grid(text: str, home: Path) -> int:
    """Read a count of channels, or the name of a probed device or of a board's profile (``sim:`` in front).

    No text gives 0.

    Raises:
        InvalidInputError: a count below 1, or the device's grid is undecided.
        NotFoundError: no such device was probed and there is no such profile.
    """
    if text and not text.lstrip("-").isdigit():
        from edgeloop.orchestrate.probe import grid_of

        return grid_of(home, text)
    if text and int(text) < 1:
        raise InvalidInputError(f"a grid is at least one channel, found {text!r}.")
    return int(text or 0)


def parse_numbers(texts: Sequence[str], what: str) -> tuple[float, ...]:
    """Read comma-separated words of positive numbers, each named once, and return them ascending.

    Raises:
        InvalidInputError: a word is no positive number, or one is named twice.
    """
    words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise InvalidInputError(
            f"{what} is a list of numbers like 1,2,4, found {','.join(words)!r}."
        ) from error
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        raise InvalidInputError(f"{what} holds positive numbers only, found {','.join(words)!r}.")
    if len(set(numbers)) != len(numbers):
        raise InvalidInputError(f"{what} names a number twice: {','.join(words)!r}.")
    return tuple(sorted(numbers))


def parse_processors(text: str) -> tuple[int, ...]:
    """Read "0,2-3" and return the processors.

    Raises:
        InvalidInputError: it is no such list.
    """
    found: list[int] = []
    for word in (word.strip() for word in text.split(",")):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidInputError(f"processors are written like 0,1 or 0-3, found {text!r}.")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))


def parse_pairs(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read KEY=VALUE words.

    Raises:
        InvalidInputError: a word of another form, or a key twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise InvalidInputError(f"an option of the runtime is written KEY=VALUE, found {text!r}.")
        if key in pairs:
            raise InvalidInputError(f"the runtime's option {key!r} is given twice.")
        pairs[key] = value
    return tuple(sorted(pairs.items()))


def parse_state(texts: Sequence[str]) -> tuple[StateBinding, ...]:
    """Read "OUTPUT:INPUT" words.

    Raises:
        InvalidInputError: a word of another form, or an input that receives two states.
    """
    bindings = []
    for text in texts:
        output, colon, name = text.partition(":")
        if not (output and colon and name) or ":" in name:
            raise InvalidInputError(
                f"a state is written OUTPUT:INPUT, found {text!r}.",
                next_step="Names with a colon can be declared by the data function.",
            )
        bindings.append(StateBinding(input=name, output=output))
    if len({binding.input for binding in bindings}) != len(bindings):
        raise InvalidInputError(f"an input receives one state only, found {', '.join(texts)}.")
    return tuple(bindings)


def parse_devices(
    texts: Sequence[str],
    config: Config | None,
    fleet: Callable[[str], Sequence[DeviceSpec]] | None = None,
    added: Mapping[str, DeviceSpec] = _NONE_ADDED,
    choose: Callable[[Sequence[tuple[int, str]]], Sequence[DeviceSpec]] | None = None,
) -> tuple[DeviceSpec, ...]:
    """Read comma-separated words: a name from the configuration, that of an added device, or a text form of one.

    Args:
        texts: the words.
        config: knows devices by name.
        fleet: returns the boards that a word about a simulated fleet stands for.
        added: devices that were added, by name.
        choose: returns the devices that meet conditions like "ram>=4GB", each with the column where it starts; those
            of one text must all hold.

    Raises:
        InvalidInputError: no device, an unknown form, or one name for two devices.
        NotFoundError: no such fleet.
    """
    if not any(word.strip() for text in texts for word in text.split(",")):
        raise InvalidInputError(
            "no device is named.", next_step="Say where to measure, for example --on local"
        )
    specs: list[DeviceSpec] = []
    for text in texts:
        conditions: list[tuple[int, str]] = []
        for column, word in _words(text):
            known = (config.device(word) if config else None) or added.get(word)
            if known is not None:
                specs.append(known)
            elif fleet is not None and word.rpartition("=")[2].startswith("fleet:"):
                specs += fleet(word)
            elif choose is not None and looks_like_condition(word):
                conditions.append((column, word))
            else:
                specs.append(DeviceSpec.parse(word))
        if choose is not None and conditions:
            specs += [spec for spec in choose(conditions) if spec not in specs]
    names = [spec.name for spec in specs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidInputError(
            f"two devices have the name {repeated[0]!r}.",
            next_step="Put names of your own in front, for example a=sim:nuc11,b=sim:nuc11.",
        )
    return tuple(specs)


def _words(text: str) -> list[tuple[int, str]]:
    """Return the words of a comma list, each with the column where it starts, from 1."""
    found, column = [], 1
    for part in text.split(","):
        if part.strip():
            found.append((column + len(part) - len(part.lstrip()), part.strip()))
        column += len(part) + 1
    return found


def read_thresholds(path: Path) -> dict[str, Any]:
    """Read thresholds from a TOML, YAML or JSON file.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: another kind of file, or not a table.
    """
    if path.suffix == ".toml":
        from edgeloop.interfaces.config import read_toml

        return read_toml(path)
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise InvalidInputError(f"thresholds are a .toml, .yaml or .json file, found {path.name}.")
    import yaml

    try:
        # JSON is YAML, so one reader serves both.
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name} cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(tree, dict):
        raise InvalidInputError(f"{path.name} holds a table of thresholds, not {type(tree).__name__}.")
    return tree
