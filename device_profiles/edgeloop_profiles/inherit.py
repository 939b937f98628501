"""Runtimes that a board takes over from a file of their instruction set, and what it changes of them.

Rates are per clock cycle of one core, so they hold for every board of a tier. A board writes::

    [[runtimes]]
    like = "onnxruntime_neon"
    version = "1.31.1"
    ...
    [runtimes.scaled]   # and why: kind, source

Tables the board states itself replace those of the file; its rates and intervals go before those of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeloop_profiles.bounds import Count, Positive, Text
from edgeloop_profiles.profile import (
    Figures,
    Interval,
    Loading,
    Overheads,
    PublishedRows,
    Rate,
    RuntimeMemory,
    ThreadScaling,
)
from edgeloop_profiles.schema import WRONG, TreeReader

__all__ = ["LikeRuntime", "Scaled", "SharedRuntime", "expander"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled(Figures):
    """How one core of this board differs from the one that a shared runtime was written for."""

    #: Overheads and session creation take this many times as long: the ratio of single-thread speeds.
    overhead_factor: Positive = 1.0
    #: Rates per cycle in fp32 times this.
    fp32_factor: Positive = 1.0
    #: Rates per cycle in fp16 times this.
    fp16_factor: Positive = 1.0
    #: Rates per cycle in int8 times this.
    int8_factor: Positive = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRuntime(Figures):
    """One inference runtime on one instruction set, without what only a board knows."""

    name: Text
    providers: tuple[Text, ...]
    overheads: Overheads
    loading: Loading
    memory: RuntimeMemory
    intervals: tuple[Interval, ...]
    rates: tuple[Rate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeRuntime(Figures):
    """One inference runtime on this board, taken over from a shared one."""

    #: Name of the shared runtime.
    like: Text
    version: Text
    max_opset: Count
    threads: ThreadScaling
    #: What is changed of the shared figures, and why.
    scaled: Scaled | None = None
    name: Text | None = None
    providers: tuple[Text, ...] | None = None
    overheads: Overheads | None = None
    loading: Loading | None = None
    memory: RuntimeMemory | None = None
    intervals: tuple[Interval, ...] = ()
    rates: tuple[Rate, ...] = ()
    published: tuple[PublishedRows, ...] = ()


Tree = dict[str, Any]


def expander(
    read: Callable[[str], object], names: tuple[str, ...]
) -> Callable[[TreeReader, object, str], object]:
    """Return the rewrite of a runtime's table that fills in what it takes over.

    Args:
        read: returns the tree of a shared runtime by name.
        names: the shared runtimes there are.
    """

    def expand(reader: TreeReader, tree: object, where: str) -> object:
        if not isinstance(tree, Mapping) or "like" not in tree:
            return tree
        own = reader.table(LikeRuntime, tree, where)
        if own is WRONG:
            return WRONG
        if own.like not in names:
            reader.note(f"{where}.like", repr(own.like), f"one of {', '.join(names)}")
            return WRONG
        shared = read(own.like)
        checked = reader.table(SharedRuntime, shared, f"{own.like}.toml: ")
        return WRONG if checked is WRONG else _merged(_scaled(shared, own.scaled), tree)

    return expand


def _merged(shared: Tree, own: Mapping[str, Any]) -> Tree:
    merged = {**shared, **{name: item for name, item in own.items() if name not in ("like", "scaled")}}
    for name in ("intervals", "rates"):
        merged[name] = [*own.get(name, []), *shared[name]]
    return merged


def _scaled(shared: Any, by: Scaled | None) -> Tree:
    if by is None:
        return dict(shared)
    slower, faster = by.overhead_factor, 1.0 / by.overhead_factor
    rates = {"fp32": by.fp32_factor, "fp16": by.fp16_factor, "int8": by.int8_factor}
    return {
        **shared,
        "overheads": _times(shared["overheads"], by, inference_s=slower, kernel_s=slower, split_s=slower),
        "loading": _times(shared["loading"], by, fixed_s=slower, kernel_s=slower, weight_bytes_per_s=faster),
        "rates": [
            _times(
                rate,
                by,
                macs_per_cycle=rates[rate["precision"]],
                bytes_per_cycle=rates[rate["precision"]],
                overhead_s=slower,
            )
            for rate in shared["rates"]
        ],
    }


def _times(table: Tree, by: Scaled, **factors: float) -> Tree:
    """Return the table with figures multiplied, and its provenance saying so."""
    changed = {name: factor for name, factor in factors.items() if name in table and factor != 1.0}
    if not changed:
        return table
    how = ", ".join(f"{name} times {factor:.3g}" for name, factor in changed.items())
    return {
        **table,
        **{name: table[name] * factor for name, factor in changed.items()},
        "kind": by.kind,
        "source": f"{table['source']}; {how}: {by.source}",
    }
