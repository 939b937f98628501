"""Words of the command line and the configuration file to values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.artifact import StateBinding

from edgeloop.domain.device import DeviceSpec

if TYPE_CHECKING:
    from edgeloop.interfaces.config import Config

__all__ = ["parse_devices", "parse_duration_s", "parse_state", "read_thresholds"]

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def parse_duration_s(text: str) -> float:
    """Read "90s", "10m", "1.5h" or "1h30m" and return seconds.

    Raises:
        InvalidInputError: none of these, or nothing at all.
    """
    match = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    total_s = hours * 3600 + minutes * 60 + seconds
    if total_s <= 0:
        raise InvalidInputError(f"a duration is written like 90s, 10m or 1h30m, found {text!r}.")
    return total_s


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


def parse_devices(texts: Sequence[str], config: Config | None) -> tuple[DeviceSpec, ...]:
    """Read comma-separated words, each a name from the configuration or a text form of a device.

    Raises:
        InvalidInputError: no device, an unknown form, or one name for two devices.
    """
    words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    if not words:
        raise InvalidInputError(
            "no device is named.", next_step="Say where to measure, for example --on local"
        )
    specs = tuple((config.device(word) if config else None) or DeviceSpec.parse(word) for word in words)
    names = [spec.name for spec in specs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidInputError(
            f"two devices have the name {repeated[0]!r}.",
            next_step="Put names of your own in front, for example a=sim:nuc11,b=sim:nuc11.",
        )
    return specs


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
