"""The table of methods is complete, and nothing in it is about a method that is not there."""

from __future__ import annotations

import pytest
from edgeloop_agent.access.methods import RULES, Caller, is_allowed

from tests.device_agent.access.matrix import OBSERVER_MAY, methods


def test_every_method_has_a_rule_and_every_rule_a_method() -> None:
    assert {method.path for method in methods()} == set(RULES)
    assert len(RULES) >= 24


def test_what_has_no_rule_is_denied_to_everybody() -> None:
    assert [c for c in Caller if is_allowed(c, "/edgeloop.v1.DeviceService/New")] == []


@pytest.mark.parametrize("caller", [Caller.NOBODY, Caller.DEVICE])
def test_nobody_and_devices_may_do_nothing(caller: Caller) -> None:
    assert [path for path in RULES if is_allowed(caller, path)] == []


def test_an_observer_changes_nothing() -> None:
    assert {path for path in RULES if is_allowed(Caller.OBSERVER, path)} == OBSERVER_MAY
    for caller in (Caller.CONTROLLER, Caller.LOCAL):
        assert {path for path in RULES if is_allowed(caller, path)} == set(RULES)
