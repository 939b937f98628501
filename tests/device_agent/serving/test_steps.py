"""What is under way and overdue, and that a process that goes on says so."""

from __future__ import annotations

import threading
import time
from typing import Any

from edgeloop_agent.serving.steps import Steps


def test_only_what_is_still_under_way_can_be_overdue() -> None:
    steps = Steps()
    slow = steps.begin(5.0, "the slow one")
    with steps.step(1.0, "the quick one"):
        assert steps.overdue(time.monotonic() + 2.0) == "the quick one"
    assert steps.overdue(time.monotonic() + 2.0) == ""
    assert steps.overdue(time.monotonic() + 6.0) == "the slow one"
    steps.end(slow)
    assert steps.overdue(time.monotonic() + 6.0) == ""


def test_the_watch_tells_that_the_process_goes_on_and_then_what_is_overdue() -> None:
    steps, told, ends = Steps(), list[dict[str, Any]](), threading.Event()
    steps.begin(0.3, "it")
    steps.watch(told.append, ends)
    assert told == [{"event": "alive"}, {"event": "overdue", "reason": "it"}]
