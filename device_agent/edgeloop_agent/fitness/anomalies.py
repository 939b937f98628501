"""What went on during a run that its figures are not to be read without; pure rules over what was seen.

Whether a finding disqualifies depends on the series. A nominal figure stands for the undisturbed device, so that
whatever disturbs it spoils it. As deployed, a device is measured with its load, its heat and its governor as they are:
the same findings are recorded and spoil nothing. A provider that falls back spoils a run that had to have it; the first
inference that compiles spoils none, because it is in no steady sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_protocol.types.conditions import Anomaly, AnomalyKind
from edgeloop_protocol.types.run import Placement
from edgeloop_protocol.types.trial import RuntimeSettings

from edgeloop_agent.fitness.watch import Watched

__all__ = ["SeenBlock", "SeenTrial", "fallback_reason", "find_anomalies"]

FOREIGN_SHARE = 0.15
FOREIGN_PROCESSORS = 0.5
"""A finding is whichever is less: a share of all processors above what the services of an idle board take, or half a
processor, which is a hog on a board of many."""

WATCH_S_MIN = 0.2
"""Processor times count in hundredths of a second; over less than this, one of them is 5 %."""

FIXED_CLOCK_FALL = 0.8
"""Boost comes and goes by a tenth on a clock that is held; a throttled one falls further."""

SCALED_CLOCK_FALL = 0.6
"""A governor that follows the load lowers the clock in every pause; only about a halving says anything."""

PROBE_FALL = 0.75
"""The busy loop slows by up to a fifth when a neighbour on the same core wakes; a halved clock halves it."""

CONTENDED_SHARE = 0.05
"""Share of the processors used by others from which on a slow loop says nothing about the clock."""

PROBE_STAYED = 0.9
"""A loop as fast as this proves that the clock did not fall, whatever is reported."""

COMPILE_S = 0.5
COMPILE_FACTOR = 20.0
"""A first inference allocates, and may take ten times a later one of microseconds; one that is slower by half a second
*and* by this factor has done work that is done once: kernels or engines were built."""

SWAPPED_PAGES = 256
"""One MiB; an idle system moves single pages."""

MAJOR_FAULTS = 32
"""In its steady phase a runner has all of its model in memory."""

_NAMED_MAX = 8
"""Nodes that a sentence names."""

_OF_SERIES = frozenset(AnomalyKind) - {AnomalyKind.FIRST_RUN_COMPILE, AnomalyKind.PROVIDER_FALLBACK}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenBlock:
    """One block as far as the rules need it."""

    #: Round.
    round: int
    #: What the watcher saw; absent when it did not watch.
    watched: Watched | None
    #: Median of the steady samples; absent without any.
    p50_s: float | None = None
    #: First inference.
    first_inference_s: float | None = None
    #: Slowest inference of the warm-up after the first.
    warmup_slowest_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTrial:
    """Everything about one trial that the rules look at."""

    #: Its blocks in order of time.
    blocks: Sequence[SeenBlock]
    #: Its settings.
    settings: RuntimeSettings
    #: Where its nodes ran; absent when not measured.
    placement: Placement | None
    #: "nominal" or "as_deployed".
    series: str
    #: Governors before and after the job.
    governors: tuple[str, str] = ("", "")


def find_anomalies(seen: SeenTrial) -> tuple[Anomaly, ...]:
    """Return at most one finding per kind, of the worst round."""
    rules = (
        _foreign_load,
        _governor_changed,
        _throttled,
        _clock_lowered,
        _first_run_compile,
        _memory_pressure,
    )
    found = [anomaly for rule in rules if (anomaly := rule(seen)) is not None]
    if reason := fallback_reason(seen.settings, seen.placement):
        found.append(
            Anomaly(
                kind=AnomalyKind.PROVIDER_FALLBACK,
                reason=reason,
                disqualifying=seen.settings.require_provider,
            )
        )
    return tuple(found)


def _anomaly(seen: SeenTrial, kind: AnomalyKind, round_index: int, reason: str) -> Anomaly:
    disqualifying = kind in _OF_SERIES and seen.series == "nominal"
    return Anomaly(kind=kind, round=round_index, reason=reason, disqualifying=disqualifying)


def _watched(seen: SeenTrial) -> list[tuple[int, Watched]]:
    return [(block.round, block.watched) for block in seen.blocks if block.watched is not None]


def _foreign_load(seen: SeenTrial) -> Anomaly | None:
    stretches = [s for s in [*_loads(seen), _pooled(seen)] if s is not None and s.duration_s >= WATCH_S_MIN]
    above = [stretch for stretch in stretches if stretch.share > stretch.limit]
    if not above:
        return None
    worst = max(above, key=lambda stretch: stretch.share)
    where = "over all rounds" if worst.round < 0 else f"in round {worst.round}"
    used = f"{worst.share:.0%} of the processors {where}"
    reason = f"other processes used {used}, expected were at most {worst.limit:.0%}."
    return _anomaly(seen, AnomalyKind.FOREIGN_LOAD, worst.round, reason)


@dataclass(frozen=True, slots=True)
class _Load:
    round: int
    share: float
    limit: float
    duration_s: float


def _loads(seen: SeenTrial) -> list[_Load]:
    return [
        _Load(index, share, min(FOREIGN_SHARE, FOREIGN_PROCESSORS / w.processor_count), w.duration_s)
        for index, w in _watched(seen)
        if (share := w.watch.foreign_cpu_share) is not None and w.processor_count > 0
    ]


def _pooled(seen: SeenTrial) -> _Load | None:
    """Return the load over all blocks: of very short ones, only together they say anything."""
    loads = _loads(seen)
    seconds = sum(load.duration_s for load in loads)
    if not seconds:
        return None
    return _Load(-1, sum(load.share * load.duration_s for load in loads) / seconds, loads[0].limit, seconds)


def _governor_changed(seen: SeenTrial) -> Anomaly | None:
    steps = [(-1, seen.governors[0])]
    steps += [(index, name) for index, watched in _watched(seen) for name in watched.governors]
    steps.append((-1, seen.governors[1]))
    told = [(index, name) for index, name in steps if name]
    for (_, before), (index, after) in itertools.pairwise(told):
        if after != before:
            where = "after the last round" if index < 0 else f"in or before round {index}"
            reason = f"the frequency governor became {after!r} {where}, expected was {before!r} throughout."
            return _anomaly(seen, AnomalyKind.GOVERNOR_CHANGED, index, reason)
    return None


def _throttled(seen: SeenTrial) -> Anomaly | None:
    for index, watched in _watched(seen):
        events = watched.watch.throttle_event_count or 0
        if events or watched.throttled:
            states = ", ".join(watched.throttled).replace("_", " ")
            what = " and ".join([f"{events} throttle events"] * bool(events) + [states] * bool(states))
            reason = f"the device reported {what} in round {index}, expected was none."
            return _anomaly(seen, AnomalyKind.THROTTLED, index, reason)
    return None


def _clock_lowered(seen: SeenTrial) -> Anomaly | None:
    highest_hz = fastest = 0.0
    for index, watched in _watched(seen):
        speeds = watched.loops_per_s
        fastest = max(fastest, speeds[0] if speeds else 0.0)
        probe = speeds[1] / fastest if speeds else None
        before, after = watched.watch.frequency_before_hz, watched.watch.frequency_after_hz
        highest_hz = max(highest_hz, before or 0.0)
        reported = None if after is None or not highest_hz else after / highest_hz
        if _is_contended(watched):
            # A loop that shares its core is slow at any clock.
            probe = None
        if reason := _why_lowered(watched.fixed_clock, reported, probe, highest_hz):
            return _anomaly(seen, AnomalyKind.CLOCK_LOWERED, index, f"{reason} in round {index}.")
    return None


def _is_contended(watched: Watched) -> bool:
    foreign, stolen = watched.watch.foreign_cpu_share or 0.0, watched.watch.stolen_cpu_share or 0.0
    return foreign > CONTENDED_SHARE or stolen > CONTENDED_SHARE


def _why_lowered(fixed: bool, reported: float | None, probe: float | None, highest_hz: float) -> str:
    stayed = probe is not None and probe >= PROBE_STAYED
    limit = FIXED_CLOCK_FALL if fixed else SCALED_CLOCK_FALL
    if reported is not None and reported < limit and (fixed or not stayed):
        clocks = f"{highest_hz / 1e6:.0f} to {highest_hz * reported / 1e6:.0f} MHz"
        return f"the reported clock fell from {clocks}, expected was at least {limit:.0%} of it"
    if probe is not None and probe < PROBE_FALL:
        beside = "" if reported is None else f" while the reported clock stayed at {reported:.0%}"
        return f"a fixed busy loop ran at {probe:.0%} of its speed{beside}, expected were at least {PROBE_FALL:.0%}"
    return ""


def _first_run_compile(seen: SeenTrial) -> Anomaly | None:
    for block in seen.blocks:
        slowest = max(block.first_inference_s or 0.0, block.warmup_slowest_s or 0.0)
        if block.p50_s and slowest - block.p50_s > COMPILE_S and slowest > COMPILE_FACTOR * block.p50_s:
            which = (
                "first inference"
                if slowest == block.first_inference_s
                else "slowest inference of the warm-up"
            )
            reason = (
                f"the {which} of round {block.round} took {slowest:.3g} s and a steady one {block.p50_s:.3g} s, which "
                "says that something was compiled at first use; expected is that loading does it."
            )
            return _anomaly(seen, AnomalyKind.FIRST_RUN_COMPILE, block.round, reason)
    return None


def _memory_pressure(seen: SeenTrial) -> Anomaly | None:
    for index, watched in _watched(seen):
        swapped, faults = watched.swapped_page_count or 0, watched.major_fault_count or 0
        if swapped > SWAPPED_PAGES or faults > MAJOR_FAULTS:
            reason = (
                f"{swapped} pages were swapped and the runner waited {faults} times for a page from disk in round "
                f"{index}, expected were at most {SWAPPED_PAGES} and {MAJOR_FAULTS}."
            )
            return _anomaly(seen, AnomalyKind.MEMORY_PRESSURE, index, reason)
    return None


def fallback_reason(settings: RuntimeSettings, placement: Placement | None) -> str:
    """Return what ran elsewhere than on the first provider asked for, in one sentence; empty when nothing did."""
    if not settings.providers or placement is None:
        return ""
    wanted = settings.providers[0]
    total = sum(count for _, count in placement.nodes_per_provider)
    elsewhere = {p: count for p, count in placement.nodes_per_provider if p != wanted}
    if not elsewhere:
        return ""
    counts = ", ".join(f"{count} on {provider}" for provider, count in sorted(elsewhere.items()))
    strays = [node for node in placement.nodes if node.provider != wanted]
    time_s = sum(node.mean_s for node in placement.nodes)
    share = f", {sum(node.mean_s for node in strays) / time_s:.0%} of the time" if strays and time_s else ""
    names = ", ".join(f"{node.name} ({node.op_type})" for node in strays[:_NAMED_MAX])
    more = f" and {len(strays) - _NAMED_MAX} more" if len(strays) > _NAMED_MAX else ""
    named = f": {names}{more}" if names else ""
    return (
        f"{sum(elsewhere.values())} of {total} nodes ran elsewhere than on {wanted} ({counts}{share}), expected were "
        f"none{named}."
    )
