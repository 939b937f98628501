"""Declared boards to standard output: a table of them, one with its provenance, what is wrong with a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_profiles import Profile
from edgeloop_profiles.predict import basis_of

from edgeloop.interfaces.present import print_json, print_table, print_text

__all__ = ["print_checked", "print_profile", "print_profiles"]

_PROVENANCE = ("kind", "source")


def print_profiles(profiles: Sequence[Profile], as_json: bool) -> None:
    """Print one row a board."""
    rows = [_row(profile) for profile in profiles]
    if as_json:
        print_json({"profiles": rows})
        return
    print_table(
        ["name", "title", "ISA", "cores", "memory", "runtimes", "basis", "power modes"],
        [
            (
                row["name"],
                row["title"],
                row["isa_tier"],
                f"{row['logical_cores']} at {row['max_frequency_hz'] / 1e9:.2f} GHz",
                f"{row['memory_total_bytes'] / 2**30:.2g} GiB",
                ", ".join(f"{runtime['name']} {runtime['version']}" for runtime in row["runtimes"]),
                ", ".join(dict.fromkeys(runtime["basis"] for runtime in row["runtimes"])),
                " ".join(
                    f"{mode} (default)" if mode == row["power_mode"] else mode for mode in row["power_modes"]
                ),
            )
            for row in rows
        ],
    )


def _row(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "title": profile.title,
        "digest": profile.digest,
        "isa_tier": profile.processor.isa_tier,
        "logical_cores": profile.processor.logical_cores,
        "max_frequency_hz": profile.processor.max_frequency_hz,
        "memory_total_bytes": profile.memory.total_bytes,
        "runtimes": [
            {
                "name": runtime.name,
                "version": runtime.version,
                "max_opset": runtime.max_opset,
                "basis": basis_of(profile, runtime.name),
                "source": runtime.source,
            }
            for runtime in profile.runtimes
        ],
        "power_mode": profile.power_mode,
        "power_modes": [mode.name for mode in profile.power_modes],
    }


def print_profile(profile: Profile, as_json: bool) -> None:
    """Print every figure under the kind and source of its group."""
    if as_json:
        print_json(dataclasses.asdict(profile))
        return
    print_text("\n".join(_lines(profile, "")))


def _lines(value: Any, where: str) -> Iterable[str]:
    """Yield the plain figures of a group first and the groups within it after them."""
    groups = []
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        place = f"{where}.{field.name}" if where else field.name
        if dataclasses.is_dataclass(item):
            groups.append((place, item))
        elif isinstance(item, tuple) and item and dataclasses.is_dataclass(item[0]):
            groups += [(f"{place}[{index}]", entry) for index, entry in enumerate(item)]
        elif field.name not in _PROVENANCE and item not in (None, "", ()):
            yield f"{'  ' if where else ''}{field.name} = {_shown(item)}"
    for place, group in groups:
        kind, source = getattr(group, "kind", ""), getattr(group, "source", "")
        yield f"{place}   ({kind}: {source})" if kind else place
        yield from _lines(group, place)


def _shown(item: Any) -> str:
    if isinstance(item, tuple):
        return ", ".join(map(_shown, item))
    return f"{item:.6g}" if isinstance(item, float) else str(item)


def print_checked(found: Sequence[tuple[str, tuple[EdgeloopError, ...]]], as_json: bool) -> None:
    """Print every problem of every file; "ok" for a file that has none."""
    if as_json:
        rows = [
            {"file": file, "ok": not problems, "problems": [problem.message for problem in problems]}
            for file, problems in found
        ]
        print_json({"files": rows})
        return
    for file, problems in found:
        print_text(f"{file}: ok" if not problems else "\n".join(_sentence(problem) for problem in problems))


def _sentence(problem: EdgeloopError) -> str:
    # Where a field is named, the sentence already says what is allowed there.
    return problem.message if ": found " in problem.message else str(problem)
