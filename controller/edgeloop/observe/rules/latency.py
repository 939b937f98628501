"""A served model that has become slower than it was certified, or than it was when it was new."""

from __future__ import annotations

from edgeloop.domain.alert import Finding, Rule, RuleSettings
from edgeloop.domain.telemetry import ServedWindow
from edgeloop.observe.rules.base import Baseline, Seen

__all__ = ["find"]


def find(seen: Seen, settings: RuleSettings) -> tuple[Finding, ...]:
    """Fire when a median of the window is ``latency_ratio_max`` times its baseline or more.

    The median run on a single row is held against the last benchmark of the artifact on that device, the median request
    against the version's own first window. Medians are read from buckets and right within 9 %.
    """
    return tuple(
        _judged(
            seen.device.device, window, seen.baselines.get((window.name, window.digest), Baseline()), settings
        )
        for window in seen.latency
    )


def _judged(device: str, window: ServedWindow, baseline: Baseline, settings: RuleSettings) -> Finding:
    verdicts = [
        verdict
        for verdict in (
            _ratio("a run", window.run_s(0.5), window.run, baseline.certified_s, "benchmark there", settings),
            _ratio(
                "a request",
                window.latency_s(0.5),
                window.latency,
                baseline.deployed_s,
                "first window",
                settings,
            ),
        )
        if verdict is not None
    ]
    if not verdicts:
        return Finding(
            rule=Rule.LATENCY,
            device=device,
            subject=window.name,
            fires=None,
            message=f"{window.name}: {window.request_count} requests in the window, too few or without a baseline.",
        )
    ratio, sentence = max(verdicts)
    return Finding(
        rule=Rule.LATENCY,
        device=device,
        subject=window.name,
        fires=ratio >= settings.latency_ratio_max,
        message=f"{window.name} release {window.counter}: {sentence}",
    )


def _ratio(
    what: str,
    median_s: float | None,
    counts: tuple[tuple[int, int], ...],
    baseline_s: float | None,
    of: str,
    settings: RuleSettings,
) -> tuple[float, str] | None:
    """Return how many times slower than the baseline, and the sentence; None when there is too little."""
    count = sum(number for _, number in counts)
    if median_s is None or baseline_s is None or baseline_s <= 0 or count < settings.latency_count_min:
        return None
    ratio = median_s / baseline_s
    return ratio, (
        f"{what} takes {median_s * 1e3:.3g} ms (median of {count}), {ratio:.2f} times the "
        f"{baseline_s * 1e3:.3g} ms of its {of}; below {settings.latency_ratio_max:g} times is allowed."
    )
