"""The file of added devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.devices import DeviceBook
from edgeloop_foundation.errors import InvalidInputError, NotFoundError

PI = DeviceSpec(name="pi", transport="ssh", address="pi@192.0.2.7", options=(("socket", '/run/a "b".sock'),))


def test_what_is_put_is_there_and_what_is_removed_is_gone(tmp_path: Path) -> None:
    book = DeviceBook(tmp_path / "home")
    assert book.devices() == {}
    other = DeviceSpec(name="lab.nano-2", transport="ssh", address="nvidia@192.0.2.8")
    book.put(PI)
    book.put(other)
    assert DeviceBook(tmp_path / "home").devices() == {"pi": PI, "lab.nano-2": other}
    book.put(DeviceSpec(name="pi", transport="ssh", address="pi@192.0.2.9"))
    assert book.get("pi").address == "pi@192.0.2.9"
    book.remove("pi")
    assert list(book.devices()) == ["lab.nano-2"]
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["devices.toml"]


def test_a_person_may_write_it(tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text('[devices.desk]\naddress = "ssh:me@desk"\n')
    assert DeviceBook(tmp_path).get("desk").transport == "ssh"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[devices", "not TOML"),
        ("[devices.x]\n", "has no address"),
        ('[devices]\nx = "local"', "has no address"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        DeviceBook(tmp_path).devices()


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    DeviceBook(tmp_path).put(PI)
    with pytest.raises(NotFoundError, match="'nano' was added; there are pi"):
        DeviceBook(tmp_path).get("nano")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[device.x]\naddress = "local"\n', "device: found a key of that name, allowed is devices"),
        (
            '[devices.x]\naddress = "local"\nlabel = {}\n',
            r"devices.x.label: .*address, options, labels, groups \(nearest is labels\)",
        ),
        (
            '[devices.x]\naddress = "local"\nlabels = { rack = 3 }\n',
            r"devices.x.labels: found \{'rack': 3\}, allowed",
        ),
        (
            '[devices.x]\naddress = "local"\ngroups = "lab"\n',
            "devices.x.groups: found 'lab', allowed is a list",
        ),
        ('[devices.x]\naddress = "local"\ngroups = ["a b"]\n', "a group is 'a b'; allowed are"),
        ('[devices.x]\naddress = "telnet:y"\n', "devices.toml: unknown device"),
    ],
)
def test_the_field_what_was_found_and_what_is_allowed_are_said(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "devices.toml").write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        DeviceBook(tmp_path).entries()


def test_a_board_that_is_added_again_keeps_its_labels_and_the_file_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text('# Mine.\n[devices."pi"]\naddress = "ssh:pi@a"\nlabels = { rack = "3" } # left\n')
    book = DeviceBook(tmp_path, path=path)
    book.put(DeviceSpec(name="pi", transport="ssh", address="pi@b"))
    assert path.read_text() == (
        '# Mine.\n[devices."pi"]\naddress = "ssh:pi@b"\nlabels = { rack = "3" } # left\n'
    )
    assert book.entry("pi").labels == (("rack", "3"),)


@pytest.mark.parametrize("form", ["local", "sim:nuc11", "unix:/run/a.sock", "grpc://h:1", "ssh:pi@h"])
def test_every_form_reads_back(form: str, tmp_path: Path) -> None:
    spec = DeviceSpec.parse(f"x={form}")
    DeviceBook(tmp_path).put(spec)
    assert DeviceBook(tmp_path).get("x") == spec
