"""The inventory as a table and as JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeloop.domain.inventory import InventoryEntry, KnownAvailability, KnownFacts, age_words
from edgeloop.domain.plain_text import plain_text
from edgeloop.interfaces.present import figures_of, print_json, print_table
from edgeloop.interfaces.present_watch import availability_words, held_words

if TYPE_CHECKING:
    from edgeloop.orchestrate.devices import Standing

__all__ = ["list_rows", "print_inventory", "print_watched"]


def list_rows(
    entries: Sequence[InventoryEntry],
    known: Mapping[str, KnownFacts],
    use: Mapping[str, KnownAvailability],
    now_s: float,
    standings: Mapping[str, Standing] | None = None,
) -> list[dict[str, Any]]:
    """Return one JSON object a device; what is not known of it is null, and ``now`` is there when it was asked."""
    rows = []
    for entry in entries:
        last, stood = known.get(entry.name), use.get(entry.name)
        hardware = last.facts.hardware if last else None
        rows.append(
            {
                "name": entry.name,
                "transport": entry.spec.transport,
                "address": entry.spec.address,
                "options": dict(entry.spec.options),
                "figures": figures_of(entry.spec),
                "labels": dict(entry.labels),
                "groups": list(entry.groups),
                "last_seen_s": last.seen_s if last else None,
                "facts_age_s": last.age_s(now_s) if last else None,
                "last_availability": stood.availability if stood else None,
                "availability_age_s": stood.age_s(now_s) if stood else None,
                "architecture": hardware.architecture if hardware else None,
                "memory_total_bytes": hardware.memory_total_bytes if hardware else None,
                **({} if standings is None else {"now": standings.get(entry.name)}),
            }
        )
    return rows


def print_watched(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the devices that a server watches, as it saw them last."""
    if as_json:
        print_json({"devices": rows})
        return
    now_s = time.time()
    print_table(
        ("device", "state", "remark", "transport", "board", "labels", "groups", "seen"),
        [
            (
                plain_text(row["name"], 120), row["state"], plain_text(row["remark"]), row["transport"],
                plain_text(row["board"], 120), plain_text(", ".join(f"{k}={v}" for k, v in row["labels"].items())),
                plain_text(", ".join(row["groups"])),
                age_words(max(0.0, now_s - row["asked_s"])) if row["asked_s"] else "never",
            )
            for row in rows
        ],
    )  # fmt: skip


def _last(stood: KnownAvailability | None, now_s: float) -> str:
    """Return how a device stood when it was last asked, for people; empty for one that never was."""
    if stood is None:
        return ""
    return plain_text(
        f"{availability_words(stood.availability) or 'in use'} ({age_words(stood.age_s(now_s))})"
    )


def _now(standing: Standing | None, last: str) -> str:
    """Return how a device stands, for people; empty for one that lives as long as the command that uses it."""
    if standing is None:
        return ""
    if standing.reason:
        return plain_text(f"does not answer: {standing.reason}") + (f" Last known: {last}" if last else "")
    held = held_words(standing.holder, shared=standing.shared)
    drained = availability_words(standing.availability)
    return plain_text("; ".join(part for part in (drained, held) if part) or "free")


def print_inventory(
    entries: Sequence[InventoryEntry],
    known: Mapping[str, KnownFacts],
    use: Mapping[str, KnownAvailability],
    now_s: float,
    standings: Mapping[str, Standing] | None = None,
) -> None:
    """Print the devices that can be named, with how they stand now when they were asked, else how they stood last."""
    from edgeloop.report.units import amount

    rows = []
    for entry in entries:
        spec, last = entry.spec, known.get(entry.name)
        labels = ", ".join(f"{key}={value}" for key, value in entry.labels)
        seen = age_words(last.age_s(now_s)) if last else "never"
        arch = last.facts.hardware.architecture if last else ""
        ram = amount(last.facts.hardware.memory_total_bytes, "B") if last else ""
        stood = _last(use.get(spec.name), now_s)
        rows.append(
            (
                *(spec.name, spec.transport, spec.address, figures_of(spec)),
                *(labels, ", ".join(entry.groups), seen, arch, ram),
                stood if standings is None else _now(standings.get(spec.name), stood),
            )
        )
    columns = ["device", "transport", "address", "figures", "labels", "groups", "last seen", "arch", "ram"]
    print_table([*columns, "last known" if standings is None else "now"], rows)
