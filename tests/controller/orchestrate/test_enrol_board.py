"""Enrolling a board over SSH: a real SSH server, a real agent under its supervisor, a real authority."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.board import AddRequest, add_device
from edgeloop.orchestrate.enrol_board import plan_enrolment, what_stays
from edgeloop.orchestrate.identity import authority_of, found_fleet
from edgeloop.transport.bootstrap import steps
from edgeloop.transport.bootstrap.layout import Keeper, Layout
from edgeloop.transport.ssh import ssh_connection
from edgeloop.transport.ssh_link.connection import SshConnection
from edgeloop_foundation.errors import InvalidInputError, StateError

from tests.controller.transport.ssh_fixtures import client_key, make_server, server

from .test_board import Person, config, request_for

__all__ = ["client_key", "config", "make_server", "request_for", "server"]

URI = "spiffe://lab/device/pi"


@dataclass
class Board:
    """A board whose agent runs."""

    server: Any
    layout: Layout
    spec: DeviceSpec
    connection: SshConnection
    start_count: int = 0
    restarts: bool = True

    def perform(self, step: steps.Step) -> None:
        self.connection.check(step.command, what=step.title, stdin=step.stdin, timeout_s=step.timeout_s)

    def restart(self) -> None:
        self.start_count += 1
        if self.restarts:
            self.perform(steps.start(self.layout, "pi"))

    def enrol(self, home: Path) -> str:
        plan = plan_enrolment(home, "pi", wanted=True)
        return plan.perform(home, self.spec, self.layout, self.connection, self.restart)


@pytest.fixture
def board(server: Any, client_key: Path, config: str, tmp_path: Path) -> Iterator[Board]:
    (tmp_path / "known").write_text(server.known_line)
    # A socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "r/agent/current/bin/edgeloop-agent"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m edgeloop_agent "$@"\n')
        program.chmod(0o755)
        layout = Layout(
            keeper=Keeper.BACKGROUND,
            root=f"{place}/r",
            state=f"{place}/s",
            socket=f"{place}/a.sock",
            incoming=f"{place}/i",
            sudo=False,
            user="pi",
            home=str(server.home),
        )
        options = {"key": str(client_key), "ssh_config": config, "socket": layout.socket, "service": "user"}
        address = f"pi@127.0.0.1:{server.port}"
        spec = DeviceSpec(name="pi", transport="ssh", address=address, options=tuple(sorted(options.items())))
        connection = ssh_connection(spec, tmp_path / "home")
        connection.open()
        board = Board(server, layout, spec, connection)
        board.perform(steps.keep_running(layout, "pi"))
        board.perform(steps.start(layout, "pi"))
        try:
            yield board
        finally:
            board.perform(steps.stop(layout))
            connection.close()


def test_a_board_is_enrolled_once_and_by_one_fleet(board: Board, tmp_path: Path) -> None:
    home = tmp_path / "home"
    found_fleet(home, "lab", "desk")
    assert what_stays(home, "pi") == ""
    assert board.enrol(home) == f"enrolled as {URI}"
    assert board.start_count == 1
    key = Path(board.layout.state) / "identity" / "identity.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    before, ran = key.read_bytes(), len(board.server.commands)
    assert board.enrol(home) == f"enrolled as {URI} already"
    assert (key.read_bytes(), board.start_count) == (before, 1)
    assert len(board.server.commands) == ran
    assert f"ca revoke device/{URI.rpartition('/')[2]}" in what_stays(home, "pi")
    other = tmp_path / "other"
    found_fleet(other, "shop", "till")
    with pytest.raises(
        StateError, match=r"is enrolled as spiffe://lab/device/pi, not as spiffe://shop"
    ) as no:
        board.enrol(other)
    assert "--no-enrol" in no.value.next_step
    assert key.read_bytes() == before
    # A revoked key is no identity: the board is given another one, and an agent that goes on with the old one is said.
    authority_of(home).revoke(URI)
    assert what_stays(home, "pi") == ""
    board.restarts = False
    with pytest.raises(StateError, match="was enrolled and"):
        board.enrol(home)
    assert key.read_bytes() != before


def test_what_is_planned_is_said_before_anything_is_done(
    server: Any, request_for: Any, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert "edgeloop ca init" in plan_enrolment(home, "pi", wanted=True).words
    assert "--no-enrol" in plan_enrolment(home, "pi", wanted=False).words
    assert plan_enrolment(home, "pi", wanted=True).identity is None
    found_fleet(home, "lab", "desk")
    assert plan_enrolment(home, "pi", wanted=False).identity is None
    plan = plan_enrolment(home, "pi", wanted=True)
    assert plan.identity is not None
    assert plan.identity.uri == URI
    assert URI in plan.words
    request: AddRequest = request_for(server, name="Pi.4")
    with pytest.raises(InvalidInputError, match=r"'Pi\.4' is not possible") as caught:
        add_device(home, request, Person(key=True))
    assert "--no-enrol" in caught.value.next_step
    assert server.logins == 0
