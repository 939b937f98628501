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
