"""Every row of the trust table is refused, and the release that the rows are forms of is not."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import replace
from itertools import product

import pytest
from edgeloop_agent.release_rules import check_device
from edgeloop_agent.trust.verify import verify
from edgeloop_foundation.errors import AccessDeniedError, EdgeloopError, StateError
from edgeloop_protocol.types.deployment import ReleaseTerms
from edgeloop_protocol.types.facts import RuntimeFacts

from scripts.heavy.install_scenario import FACTS

from .attacks import ONLINE, Ground, attacks
from .forge import DAY_S, GOLDEN, NAME, ROLES, Forge, make_keys

WHY = {
    "rollback": r"must be >=|Expected targets|counter|signed by 0/1",
    "freeze": r"expired at",
    "expired": r"is expired",
    "fast-forward": r"signed by 0/|got v?99",
    "mix": r"signed by 0/1|Expected",
    "keys": r"signed by [01]/",
    "zeroed": r"below 3|must be >= 3|got 3|counter 2|CLOCK_UNTRUSTED",
    "clock": r"CLOCK_UNTRUSTED|expired at|lacks x-edgeloop-signed-s",
    "oversized": r"at most \d+ are read|a bundle has 1 to 64 roots",
    "terms": r"ReleaseTerms|has a counter above 0|no tier of isolation|of layout|counter is int|FileEntry|"
    r"by SHA-256 alone|names no deployment",
}
"""What each kind is refused for: a row that is refused for something else shows nothing."""

TERMS = ReleaseTerms(counter=1, format="onnx", files=(GOLDEN,), golden_digest=GOLDEN.digest)


@pytest.fixture(scope="module")
def ground() -> Ground:
    return Ground(float(int(time.time())))


def test_no_row_is_accepted(ground: Ground) -> None:
    table = attacks(ground)
    wrong = []
    for attack in table:
        try:
            verify(attack.state, attack.bundle, attack.deployment, attack.now_s)
            why = "accepted"
        except (AccessDeniedError, StateError) as error:
            why = str(error)
        if not re.search(WHY[attack.kind], why):
            wrong.append(f"{attack.kind}, {attack.name}: {why}")
    assert not wrong
    assert len({(attack.kind, attack.name) for attack in table}) == len(table) >= 150
    assert {attack.kind for attack in table} == set(WHY)
    for kind, role in product(("rollback", "freeze", "fast-forward", "oversized", "keys"), ROLES):
        assert any(role in attack.name for attack in table if attack.kind == kind), (kind, role)


def test_what_the_rows_are_forms_of_is_accepted(ground: Ground) -> None:
    """The other half of the table: nothing above is refused for being made in memory."""
    assert verify(ground.state, ground.next, NAME, ground.now_s).digest == "4" * 64
    assert verify(ground.new, ground.next, NAME, ground.now_s).terms.counter == 4
    assert verify(ground.lost(ONLINE), ground.next, NAME, ground.now_s).digest == "4" * 64
    assert verify(ground.state, ground.releases[3], NAME, ground.now_s).digest == "3" * 64
    assert verify(ground.state, ground.next, NAME, ground.now_s + 6 * DAY_S).digest == "4" * 64
    padded = replace(ground.next, targets=ground.forge.targets(4, extra={"padding": "x" * (1 << 19)}))
    assert verify(ground.state, padded, NAME, ground.now_s).digest == "4" * 64
    deliberate = ground.forge.bundle(4, targets=ground.forge.targets(4, digest="1" * 64))
    assert verify(ground.state, deliberate, NAME, ground.now_s).digest == "1" * 64


@pytest.mark.parametrize("role", ROLES)
def test_a_root_that_both_old_keys_signed_is_followed(ground: Ground, role: str) -> None:
    fresh = {**ground.forge.keys, role: make_keys()[role]}
    by = [*ground.forge.keys["root"], *(fresh["root"] if role == "root" else ())]
    roots = (ground.forge.root(), ground.forge.root(2, keys=fresh, by=by))
    bundle = Forge(now_s=ground.now_s, keys=fresh).bundle(4, roots=roots)
    state = verify(ground.state, bundle, NAME, ground.now_s).state
    assert state.floor.root_version == 2
    if role != "root":
        with pytest.raises(EdgeloopError):
            verify(state, ground.releases[5], NAME, ground.now_s)


FOR_OTHERS = [
    {"devices": ("other",)},
    {"devices": ("Board",)},
    {"devices": ("d" * 31,)},
    {"devices": ("board2", "d" * 33)},
    {"architectures": ("aarch64",)},
    {"architectures": ("armv7l", "riscv64")},
    {"devices": ("board",), "architectures": ("aarch64",)},
    {"runtime": "openvino"},
    {"runtime": "tensorrt"},
    {"format": "tflite"},
    {"runtime_version_min": "1.20.1"},
    {"runtime_version_min": "2"},
    {"runtime_version_below": "1.20"},
    {"runtime_version_below": "1.19.9"},
    {"runtime_version_min": "1.19", "runtime_version_below": "1.20.0"},
]


@pytest.mark.parametrize(
    "change", FOR_OTHERS, ids=lambda change: " ".join(f"{k}={v}" for k, v in change.items())
)
def test_a_release_for_another_device_or_hardware_is_refused(change: dict[str, object]) -> None:
    check_device(TERMS, FACTS)
    with pytest.raises((AccessDeniedError, StateError)):
        check_device(dataclasses.replace(TERMS, **change), FACTS)  # type: ignore[arg-type]


def test_a_runtime_that_does_not_start_counts_as_absent() -> None:
    broken = RuntimeFacts(name="onnxruntime", version="1.20.0", formats=("onnx",), reason="it does not load.")
    with pytest.raises(StateError, match="needs onnxruntime"):
        check_device(TERMS, dataclasses.replace(FACTS, runtimes=(broken,)))


@pytest.mark.parametrize(
    "change",
    [
        {"devices": ("other", "board")},
        {"devices": ("d" * 32,)},
        {"architectures": ("aarch64", "x86_64")},
        {"runtime_version_min": "1.20", "runtime_version_below": "1.21"},
    ],
)
def test_a_release_for_this_device_is_taken(change: dict[str, object]) -> None:
    check_device(dataclasses.replace(TERMS, **change), FACTS)  # type: ignore[arg-type]
