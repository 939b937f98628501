"""Fault scripts: what they may say, and what a seed makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_profiles import load_profile
from edgeloop_profiles.fault_script import FaultRule, FaultScript, check_script, draw_faults, load_faults

HEAD = 'apiVersion = "edgeloop/v1"\nkind = "Faults"\n'


def script(tmp_path: Path, *rules: str) -> FaultScript:
    path = tmp_path / "faults.toml"
    path.write_text(HEAD + "".join(f"[[fault]]\n{rule}\n" for rule in rules))
    return load_faults(path)


def test_one_seed_draws_the_same_and_another_seed_something_else(tmp_path: Path) -> None:
    found = script(tmp_path, 'kind = "drop"\nprobability = 0.4\nafter_requests = [10, 1000]')
    boards = [f"pi-{number:04d}" for number in range(200)]
    drawn = [
        {b: [f.place for f in draw_faults(found, seed=seed, board=b, profile="p")] for b in boards}
        for seed in (7, 7, 8)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    places = [place for listed in drawn[0].values() for place in listed]
    assert 60 <= len(places) <= 100
    assert all(10 <= place <= 1000 for place in places)
    assert len(set(places)) > 40


EVERY_KIND = {
    "drop": "after_requests = [10, 1000]\ncount = 2",
    "delay": "after_bytes = [10, 1000]\ndelay_s = 0.1",
    "corrupt": "after_bytes = [10, 1000]",
    "power_loss": "after_writes = [10, 1000]",
    "reboot": "after_requests = [10, 1000]",
    "crash": "at_s = [10, 1000]",
    "disk_full": "after_writes = [10, 1000]\nfor_s = 1",
    "throttle": "at_s = [10, 1000]\nfactor = 0.5",
    "slow": "at_s = [10, 1000]\nfactor = 2",
    "clock_skew": "at_s = [10, 1000]\nskew_s = -60",
    "sensor_gone": 'at_s = [10, 1000]\nsensor = "thermal"',
}


def test_every_kind_of_fault_is_drawn_again_by_its_seed(tmp_path: Path) -> None:
    kinds = get_type_hints(FaultRule, include_extras=True)["kind"].__metadata__[0].values
    assert set(kinds) == set(EVERY_KIND)
    assert len(kinds) == 11
    found = script(tmp_path, *(f'kind = "{kind}"\n{words}' for kind, words in EVERY_KIND.items()))
    one, again, other = (draw_faults(found, seed=seed, board="pi", profile="p") for seed in (7, 7, 8))
    assert one == again
    assert [fault.rule.kind for fault in one] == list(EVERY_KIND)
    assert all(10 <= fault.place <= 1000 for fault in one)
    assert len({fault.place for fault in one}) > 8
    assert sum(a.place != b.place for a, b in zip(one, other, strict=True)) > 8


def test_a_board_keeps_its_faults_whoever_else_is_in_the_fleet(tmp_path: Path) -> None:
    found = script(
        tmp_path, 'kind = "crash"\nat_s = [0, 9]', 'kind = "drop"\nboards = "nuc-*"\nafter_bytes = 1'
    )
    alone = draw_faults(found, seed=1, board="pi-0003", profile="p")
    assert [fault.index for fault in alone] == [0]
    assert draw_faults(found, seed=1, board="nuc-0000", profile="p")[1].index == 1


@pytest.mark.parametrize(
    ("selector", "hit"),
    [
        ('boards = "pi-*"', True),
        ('boards = "nuc-*"', False),
        ('profile = "raspberry_pi_4"', True),
        ('profile = "nuc11"', False),
        ('label = "lab"', True),
        ('label = "field"', False),
    ],
)
def test_a_selector_chooses_by_name_profile_or_label(selector: str, hit: bool, tmp_path: Path) -> None:
    found = script(tmp_path, f'kind = "crash"\nat_s = 1\n{selector}')
    drawn = draw_faults(found, seed=0, board="pi-0001", profile="raspberry_pi_4", labels=("lab",))
    assert bool(drawn) is hit


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('kind = "drop"', r"fault\[0\]: drop: found no trigger, allowed is exactly one of after_requests"),
        ('kind = "drop"\nat_s = 1', "drop: found at_s"),
        ('kind = "crash"\nat_s = 1\nafter_bytes = 2', "crash: found after_bytes and at_s"),
        ('kind = "bang"\nat_s = 1', r"fault\[0\].kind: found str 'bang', allowed is one of 'drop'"),
        ('kind = "throttle"\nat_s = 1', "throttle: factor: found nothing"),
        ('kind = "throttle"\nat_s = 1\nfactor = 2', "throttle: factor: found 2, allowed is at most 1"),
        ('kind = "slow"\nat_s = 1\nfactor = 0.5', "slow: factor: found 0.5, allowed is at least 1"),
        ('kind = "drop"\nafter_bytes = 1\nsensor = "x"', "found sensor, which means nothing for it"),
        ('kind = "drop"\nafter_requests = [3, 1]', r"after_requests: found \[3, 1\]"),
        ('kind = "drop"\nafter_requests = -1', r"after_requests\[0\]: found int -1"),
        ('kind = "drop"\nafter_bytes = 1\nmethod = "Write"', "method: found 'Write', but no after_requests"),
        ('kind = "drop"\nafter_bytes = 1\nprobability = 2', "probability: found float 2.0"),
        ('kind = "drop"\nafter_bytes = 1\noften = 2', "often: found a field that is not known"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(rule: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=said):
        script(tmp_path, rule)


def test_another_kind_of_file_and_none_at_all(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text('apiVersion = "edgeloop/v1"\nkind = "Fleet"\n')
    with pytest.raises(InvalidInputError, match=r"kind: found 'Fleet', allowed is 'Faults'"):
        load_faults(path)
    with pytest.raises(NotFoundError, match=r"nowhere\.toml"):
        load_faults(tmp_path / "nowhere.toml")


def test_entries_that_could_never_happen_are_refused(tmp_path: Path) -> None:
    boards = [("pi-0000", load_profile("raspberry_pi_4"), ("lab",))]
    check_script(script(tmp_path, 'kind = "sensor_gone"\nat_s = 0\nsensor = "thermal"'), boards)
    with pytest.raises(InvalidInputError, match="found 'radar', allowed are cpufreq, thermal, throttle"):
        check_script(script(tmp_path, 'kind = "sensor_gone"\nat_s = 0\nsensor = "radar"'), boards)
    with pytest.raises(InvalidInputError, match="label 'field', which fits none of the 1 boards"):
        check_script(script(tmp_path, 'kind = "crash"\nat_s = 0\nlabel = "field"'), boards)
