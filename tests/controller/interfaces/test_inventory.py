"""``edgeloop device list|label|group`` and selectors in ``--on``, from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgeloop.interfaces.present_watch import held_words

from .conftest import Call
from .recorder import Recorder

LAB = '# Ours.\n[devices.pi]\naddress = "ssh:pi@a"  # left\n\n[devices.nuc]\naddress = "sim:nuc11"\n'


@pytest.fixture
def lab(call: Call) -> Path:
    """Return an inventory beside the configuration that names it."""
    Path("edgeloop.toml").write_text(
        'apiVersion = "edgeloop/v1"\nkind = "Config"\ninventory = "lab.toml"\n[devices]\nown = "local"\n'
    )
    path = Path("lab.toml")
    path.write_text(LAB)
    return path


def test_labels_and_groups_are_written_and_listed(call: Call, lab: Path) -> None:
    assert call("device", "label", "pi", "rack=3", "room=b").exit_code == 0
    assert call("device", "group", "pi", "lab", "day").exit_code == 0
    assert call("device", "label", "pi", "room=").output == "pi: labels rack=3; groups day, lab\n"
    assert call("device", "group", "pi", "day", "--leave").exit_code == 0
    assert lab.read_text() == LAB.replace("# left\n", '# left\nlabels = { rack = "3" }\ngroups = ["lab"]\n')
    rows = json.loads(call("device", "list", "--json").output)["devices"]
    assert [row["name"] for row in rows] == ["this-machine", "pi", "nuc", "own"]
    assert (rows[1]["labels"], rows[1]["groups"], rows[1]["last_seen_s"]) == ({"rack": "3"}, ["lab"], None)
    assert "rack=3" in call("device", "list").output


def test_conditions_choose_and_join_with_names(call: Call, lab: Path) -> None:
    call("device", "label", "pi", "rack=3")
    call("device", "group", "nuc", "lab")
    api = Recorder()
    call("device", "doctor", "--on", "own,rack=3", "--on", "group=lab", api=api)
    assert [spec.name for spec in api.heard] == ["own", "pi", "nuc"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("doctor", "--on", "pi,rack=3"), "column 4: found 'rack'"),
        (("doctor", "--on", "arch=aarch64"), "Ask it: edgeloop device facts --on pi"),
        (("label", "pi", "rack"), "written KEY=VALUE, found 'rack'"),
        (("label", "pi", "rack="), "has no label 'rack'"),
        (("label", "pi", "rack=a b"), "allowed are letters"),
        (("label", "x", "a=b"), "there are pi, nuc"),
        (("group", "pi", "lab", "--leave"), "is not in group 'lab'"),
    ],
)
def test_each_mistake_is_one_sentence(call: Call, lab: Path, words: tuple[str, ...], said: str) -> None:
    result = call("device", *words)
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert lab.read_text() == LAB


def test_the_file_of_the_option_wins(call: Call, lab: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[devices.x]\naddress = "local"\n')
    result = call("--inventory", "other.toml", "device", "list", "--json")
    assert [row["name"] for row in json.loads(result.output)["devices"]] == ["this-machine", "x", "own"]


def test_who_shares_a_device_is_not_said_to_have_it_alone() -> None:
    held = [held_words("a, b", shared=True), held_words("a", shared=False), held_words("", shared=False)]
    assert held == ["shared by a, b", "held by a", ""]
