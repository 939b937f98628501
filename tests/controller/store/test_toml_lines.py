"""Edits of the inventory's text."""

from __future__ import annotations

import pytest
import tomllib
from edgeloop.store.toml_lines import edited
from edgeloop_foundation.errors import UnsupportedError

TEXT = """# Our lab.

# The board at the window.
[devices.pi]
address = "ssh:pi@a"  # on the left
# Rack of the cellar.
labels = { rack = "3" }  # since May

# Borrowed.
[devices."nano.2"]
groups = ["lab"]
address = "ssh:nv@b"
"""


def test_only_the_line_of_the_changed_key_changes() -> None:
    out = edited(TEXT, "pi", {"address": "ssh:pi@a", "labels": {"rack": "4"}})
    assert out == TEXT.replace('labels = { rack = "3" }', 'labels = { rack = "4" }')


def test_a_new_key_stands_below_the_last_one() -> None:
    out = edited(TEXT, "pi", {"address": "ssh:pi@a", "labels": {"rack": "3"}, "groups": ["a"]})
    assert out == TEXT.replace("# since May\n", '# since May\ngroups = ["a"]\n')


def test_a_device_is_taken_out_with_nothing_else() -> None:
    out = edited(TEXT, "pi", None)
    assert "# Borrowed." in out
    assert "# Our lab." in out
    assert tomllib.loads(out)["devices"].keys() == {"nano.2"}


def test_nothing_changes_when_nothing_is_changed() -> None:
    assert edited(TEXT, "nano.2", {"address": "ssh:nv@b", "groups": ["lab"]}) == TEXT


def test_a_new_device_is_appended() -> None:
    out = edited(TEXT, "größe", {"address": "local"})
    assert out == TEXT + '\n[devices."größe"]\naddress = "local"\n'


@pytest.mark.parametrize(
    "text",
    [
        '[devices]\npi = { address = "local" }\n',
        '[devices.pi]\naddress = "local"\ngroups = [\n  "a",\n]\n',
        '[devices.pi]\naddress = "local"\n[devices.pi.labels]\nrack = "3"\n',
    ],
)
def test_a_form_that_would_lose_something_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedError, match="form that is not edited here"):
        edited(text, "pi", {"address": "local", "groups": ["b"]})
