"""Adding a board, as far as it goes without packages: whom it trusts, what it refuses, what it leaves alone.

The whole of it, with a real sshd and a bare system, is in scripts/heavy/ssh_device.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.board import AddRequest, add_device, open_board, remove_device, upgrade_device
from edgeloop.store.devices import DeviceBook
from edgeloop.transport.ssh_link.trust import UnknownHostKeyError, fingerprint, own_file
from edgeloop_foundation.errors import (
    CancelledByUserError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)

from tests.controller.transport.ssh_fixtures import client_key, make_server, server

__all__ = ["client_key", "make_server", "server"]


class Person:
    """Answers as told and keeps what was said."""

    def __init__(self, key: bool = False, steps: bool = True) -> None:
        self.key, self.steps = key, steps
        self.said: list[str] = []
        self.asked: list[str] = []

    def tell(self, line: str) -> None:
        self.said.append(line)

    def confirm_key(self, host: str, kind: str, fingerprint: str) -> bool:
        self.asked.append(fingerprint)
        return self.key

    def confirm_steps(self) -> bool:
        return self.steps

    def sent(self, done: int, total: int) -> None:
        pass


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "ssh_config"
    path.write_text(f"Host *\n UserKnownHostsFile {tmp_path}/known\n GlobalKnownHostsFile /dev/null\n")
    return str(path)


@pytest.fixture
def request_for(client_key: Path, config: str) -> Any:
    def make(server: Any, **more: Any) -> AddRequest:
        more.setdefault("name", "pi")
        return AddRequest(
            address=f"pi@127.0.0.1:{server.port}", key=str(client_key), ssh_config=config, **more
        )

    return make


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("pi@raspberrypi.local", "raspberrypi"),
        ("pi@192.0.2.7", "192.0.2.7"),
        ("pi@[2001:db8::7]", "2001-db8--7"),
    ],
)
def test_a_board_is_named_after_its_host(address: str, name: str) -> None:
    assert AddRequest(address=address).spec().name == name


def test_a_name_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no name for a device"):
        AddRequest(address="pi@host", name="a b; rm").spec()


def test_nobody_to_ask_means_no(server: Any, request_for: Any, tmp_path: Path) -> None:
    person = Person(key=False)
    with pytest.raises(UnknownHostKeyError):
        add_device(tmp_path / "home", request_for(server), person)
    assert person.asked == [fingerprint(server.key)]
    assert server.commands == []
    assert not own_file(tmp_path / "home").exists()


def test_a_person_may_confirm_and_more_can_be_done_over_the_same_connection(
    server: Any, request_for: Any, tmp_path: Path
) -> None:
    connection = open_board(request_for(server).spec(), tmp_path / "home", Person(key=True))
    assert connection.run("echo hello").stdout == "hello\n"
    connection.put(b"request", "csr.pem")
    assert (server.home / "csr.pem").read_bytes() == b"request"
    connection.close()


def old_python(server: Any) -> None:
    """Let the board answer as one whose Python is too old."""
    probe = Path(__file__).parents[2] / "fixtures" / "probes" / "jetson_nano_jetpack_4.txt"
    execute = server.execute

    def instead(channel: Any, command: bytes) -> None:
        execute(channel, f"cat {probe}".encode() if b"sh -s" in command else command)

    server.execute = instead


def test_a_board_that_is_too_old_is_told_so_in_words_and_nothing_is_done(
    server: Any, request_for: Any, tmp_path: Path
) -> None:
    old_python(server)
    person = Person(key=True)
    with pytest.raises(UnsupportedError, match=r"has 3\.6") as caught:
        add_device(tmp_path / "home", request_for(server), person)
    assert "JetPack 6" in caught.value.next_step
    assert "CPU only" in person.said[0]
    assert list(server.home.iterdir()) == []
    assert DeviceBook(tmp_path / "home").devices() == {}


def test_a_unit_of_the_system_needs_its_service(server: Any, request_for: Any, tmp_path: Path) -> None:
    probe = Path(__file__).parents[2] / "fixtures" / "probes" / "raspberry_pi_os_bookworm.txt"
    execute = server.execute
    server.execute = lambda channel, command: execute(
        channel, f"cat {probe}".encode() if b"sh -s" in command else command
    )
    wanted = request_for(server, isolation="systemd", sudo_allowed=False)
    with pytest.raises(UnsupportedError, match="the tier systemd is a unit of the system"):
        add_device(tmp_path / "home", wanted, Person(key=True))
    assert list(server.home.iterdir()) == []


def test_a_name_that_is_taken_is_refused_before_we_connect(
    server: Any, request_for: Any, tmp_path: Path
) -> None:
    DeviceBook(tmp_path / "home").put(DeviceSpec(name="pi", transport="ssh", address="pi@elsewhere"))
    with pytest.raises(InvalidInputError, match="belongs to ssh:pi@elsewhere"):
        add_device(tmp_path / "home", request_for(server), Person(key=True))
    assert server.logins == 0


def test_removing_asks_and_then_leaves_nothing(
    server: Any, request_for: Any, client_key: Path, config: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    spec = request_for(server).spec()
    options = (*spec.options, ("service", "user"))
    DeviceBook(home).put(DeviceSpec(name="pi", transport="ssh", address=spec.address, options=options))
    (tmp_path / "known").write_text(server.known_line)
    ours = [server.home / ".local/share/edgeloop/agent", server.home / ".cache/edgeloop/incoming"]
    for path in ours:
        path.mkdir(parents=True)
    with pytest.raises(CancelledByUserError):
        remove_device(home, "pi", Person(steps=False))
    remove_device(home, "pi", Person(), dry_run=True)
    assert all(path.exists() for path in ours)
    remove_device(home, "pi", Person())
    assert list(server.home.iterdir()) == []
    assert DeviceBook(home).devices() == {}


def test_what_was_not_added_cannot_be_upgraded(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="device add"):
        upgrade_device(tmp_path, "pi", Person())
