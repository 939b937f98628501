"""The inventory as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop.domain.inventory import InventoryEntry, KnownFacts, age_words
from edgeloop.interfaces.present import figures_of, print_table

__all__ = ["list_rows", "print_inventory"]


def list_rows(
    entries: Sequence[InventoryEntry], known: Mapping[str, KnownFacts], now_s: float
) -> list[dict[str, Any]]:
    """Return one JSON object a device; what is not known of it is null."""
    rows = []
    for entry in entries:
        last = known.get(entry.name)
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
                "architecture": hardware.architecture if hardware else None,
                "memory_total_bytes": hardware.memory_total_bytes if hardware else None,
            }
        )
    return rows


def print_inventory(entries: Sequence[InventoryEntry], known: Mapping[str, KnownFacts], now_s: float) -> None:
    """Print the devices that can be named."""
    from edgeloop.report.units import amount

    rows = []
    for entry in entries:
        spec, last = entry.spec, known.get(entry.name)
        labels = ", ".join(f"{key}={value}" for key, value in entry.labels)
        seen = age_words(last.age_s(now_s)) if last else "never"
        arch = last.facts.hardware.architecture if last else ""
        ram = amount(last.facts.hardware.memory_total_bytes, "B") if last else ""
        rows.append(
            (
                *(spec.name, spec.transport, spec.address, figures_of(spec)),
                *(labels, ", ".join(entry.groups), seen, arch, ram),
            )
        )
    columns = ["device", "transport", "address", "figures", "labels", "groups", "last seen", "arch", "ram"]
    print_table(columns, rows)
