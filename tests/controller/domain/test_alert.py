"""The table of an alert: every state with every finding, and when it ends."""

from __future__ import annotations

import pytest
from edgeloop.domain.alert import Alert, AlertState, Finding, Rule, RuleSettings, next_alert
from edgeloop_foundation.errors import InvalidInputError

OPEN = Alert(rule=Rule.DISK, device="pi", message="full.", opened_s=10.0, seen_s=20.0, told=True, alert_id=7)


def finding(fires: bool | None) -> Finding:
    return Finding(rule=Rule.DISK, device="pi", fires=fires, message="now.")


def after(alert: Alert | None, fires: bool | None, now_s: float) -> Alert | None:
    return next_alert(alert, finding(fires), now_s, resolved_after_s=100.0)


def test_one_begins_when_its_condition_holds_and_only_then() -> None:
    assert after(None, None, 5.0) is None
    assert after(None, False, 5.0) is None
    begun = after(None, True, 5.0)
    assert begun is not None
    assert (begun.state, begun.opened_s, begun.told, begun.alert_id) == (AlertState.OPEN, 5.0, False, 0)


def test_one_that_is_open_is_not_told_again() -> None:
    kept = after(OPEN, True, 30.0)
    assert kept is not None
    assert (kept.state, kept.opened_s, kept.seen_s, kept.message, kept.told) == (
        AlertState.OPEN,
        10.0,
        30.0,
        "now.",
        True,
    )
    assert after(OPEN, None, 30.0) == OPEN


def test_one_ends_once_its_condition_was_clear_for_long_enough() -> None:
    clear = after(OPEN, False, 30.0)
    assert clear is not None
    assert (clear.state, clear.clear_since_s) == (AlertState.OPEN, 30.0)
    still = after(clear, False, 129.0)
    assert still is not None
    assert still.state is AlertState.OPEN
    # It held in between: the time begins anew.
    again = after(still, True, 129.5)
    assert again is not None
    assert again.clear_since_s is None
    ended = after(clear, False, 130.0)
    assert ended is not None
    assert (ended.state, ended.resolved_s, ended.told) == (AlertState.RESOLVED, 130.0, False)


@pytest.mark.parametrize(
    "words",
    [
        {"offline_after_s": 0.0},
        {"throttled_share_max": 1.0},
        {"latency_ratio_max": 1.0},
        {"latency_count_min": 9},
        {"drift_index_max": 0.0},
        {"resolved_after_s": -1.0},
    ],
)
def test_limits_that_cannot_be(words: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        RuleSettings(**words)  # type: ignore[arg-type]
