"""Where outputs diverge, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeloop.interfaces.present import print_table, print_text

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec
    from edgeloop.domain.divergence import Divergence

__all__ = ["divergence_rows", "print_divergences"]

Explained = Sequence[tuple["DeviceSpec", "Divergence | None", str]]

_SHOWN = 12
"""Tensors in a table: those around the first diverging one."""


def divergence_rows(explained: Explained) -> list[dict[str, Any]]:
    """Return one record per failed parity."""
    return [{"device": spec.name, "divergence": found, "reason": reason} for spec, found, reason in explained]


def print_divergences(explained: Explained) -> None:
    """Print the first diverging node of each failed parity, with the tensors around it."""
    for spec, found, reason in explained:
        if found is None:
            print_text(f"{spec.name}: where it diverges cannot be told: {reason}")
            continue
        print_text(f"{spec.name}: {found.kind.value.replace('_', ' ')}: {found.reason}")
        if found.first is None:
            continue
        place = found.looked_at.index(found.first)
        near = found.looked_at[max(0, place - _SHOWN // 2) : place + _SHOWN // 2]
        rows = [
            (
                error.node,
                error.op_type,
                f"{error.relative_error:.2e}",
                "ok" if error.within_tolerance else "OFF",
            )
            for error in near
        ]
        print_table(["node", "operator", "relative error", "tolerance"], rows)
