"""Fleet files: shares, names, seeds, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_profiles import load_profile
from edgeloop_profiles.fault_script import check_script, load_faults
from edgeloop_profiles.fleet_file import BOARDS_MAX, FleetFile, draw_boards, load_fleet_file

HEAD = 'apiVersion = "edgeloop/v1"\nkind = "Fleet"\n'
MIXED = """
[[boards]]
profile = "raspberry_pi_4"
share = 2
labels = ["lab"]
[[boards]]
profile = "nuc11"
name = "desk"
share = 1
[[boards]]
profile = "raspberry_pi_5"
count = 3
"""


def fleet(tmp_path: Path, text: str) -> FleetFile:
    path = tmp_path / "fleet.toml"
    path.write_text(HEAD + text)
    return load_fleet_file(path)


def test_shares_fill_what_no_group_counts(tmp_path: Path) -> None:
    boards = draw_boards(fleet(tmp_path, MIXED), 103, 7)
    assert Counter(board.profile for board in boards) == {
        "raspberry_pi_4": 67,
        "nuc11": 33,
        "raspberry_pi_5": 3,
    }
    assert boards[0].name == "raspberry_pi_4-0000"
    assert boards[67].name == "desk-0000"
    assert boards[0].labels == ("lab",)
    assert len({board.name for board in boards}) == 103


def test_a_board_has_a_seed_of_its_own_from_the_fleets_and_its_name(tmp_path: Path) -> None:
    found = fleet(tmp_path, MIXED)
    few, many, other = (draw_boards(found, count, seed) for count, seed in ((10, 7), (100, 7), (10, 8)))
    assert few[0] == many[0]
    assert few[0].seed != other[0].seed
    assert len({board.seed for board in many}) == 100
    assert all(0 <= board.seed < 2**31 for board in many)


@pytest.mark.parametrize("count", [0, 2, BOARDS_MAX + 1])
def test_a_count_that_does_not_fit_the_groups(count: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="for groups that count 3 boards plus shares"):
        draw_boards(fleet(tmp_path, MIXED), count, 0)


def test_counts_alone_need_no_count_and_take_no_other(tmp_path: Path) -> None:
    found = fleet(tmp_path, '[[boards]]\nprofile = "nuc11"\ncount = 4\n')
    assert len(draw_boards(found, 0, 0)) == len(draw_boards(found, 4, 0)) == 4
    with pytest.raises(InvalidInputError, match="Give no --count, or 4"):
        draw_boards(found, 5, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[boards]]\nprofile = "nuc11"\n', r"boards\[0\]: found count 0 and share 0"),
        ('[[boards]]\nprofile = "nuc11"\ncount = 1\nshare = 1\n', "found count 1 and share 1"),
        ('[[boards]]\nprofile = "nuc11"\ncount = 1\nname = "a b"\n', "name: found 'a b'"),
        ('[[boards]]\nprofile = "nuc11"\ncount = 1\n' * 2, "found the name 'nuc11' for two groups"),
        ("boards = []\n", "boards: found none"),
        ('[[boards]]\nprofile = "nuc11"\ncount = "many"\n', r"boards\[0\].count: found str 'many'"),
        ("", "boards: found nothing"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=said):
        fleet(tmp_path, text)


def test_an_unknown_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="commodore_64"):
        fleet(tmp_path, '[[boards]]\nprofile = "commodore_64"\ncount = 1\n')


def test_paths_are_those_from_the_file(tmp_path: Path) -> None:
    found = fleet(tmp_path, 'faults = "faults.toml"\n[[boards]]\nprofile = "nuc11"\ncount = 1\n')
    assert found.faults == str(tmp_path / "faults.toml")


def test_the_examples_can_be_used() -> None:
    examples = Path(__file__).parents[2] / "examples"
    found = load_fleet_file(examples / "fleet.toml")
    boards = draw_boards(found, 100, 7)
    profiles = {board.profile: load_profile(board.profile) for board in boards}
    script = load_faults(Path(found.faults))
    check_script(script, [(board.name, profiles[board.profile], board.labels) for board in boards])
    assert {rule.kind for rule in script.fault} == {"drop", "power_loss", "disk_full", "throttle"}
