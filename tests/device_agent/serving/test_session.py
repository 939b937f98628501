"""A session inside a program: the right numbers, kept outputs, and the switch."""

from __future__ import annotations

import time

import numpy as np
import pytest
from edgeloop_agent.serving import open_session
from edgeloop_foundation.errors import InvalidInputError, StateError

from scripts.bench.serving_slots import SlotBoard, linear


def test_outputs_are_written_where_they_were_before(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    with open_session(board.state, "demo") as session:
        x = np.arange(8, dtype=np.float32).reshape(2, 4)
        assert np.array_equal(session.run({"x": x})["y"], 2 * x)
        second = session.run({"x": x})["y"]
        third = session.run({"x": x + 1})["y"]
        assert third is second
        assert np.array_equal(third, 2 * (x + 1))
        # Another number of rows has outputs of its own.
        assert np.array_equal(session.run({"x": x[:1]})["y"], 2 * x[:1])
        assert np.array_equal(session.run({"x": x[1:]})["y"], 2 * x[1:])
        assert np.array_equal(third, 2 * (x + 1))


def test_it_follows_the_pointer_and_stays_with_what_works(board: SlotBoard) -> None:
    board.install("demo", 1, linear(2.0))
    x = np.ones((1, 4), np.float32)
    with open_session(board.state, "demo") as session:
        board.install("demo", 2, linear(3.0))
        ends = time.monotonic() + 60
        while session.version != "2" and time.monotonic() < ends:
            assert float(session.run({"x": x})["y"][0, 0]) in (2.0, 3.0)
        assert float(session.run({"x": x})["y"][0, 0]) == 3.0
        slot = board.install("demo", 3, linear(4.0))
        manifest = board.slots.directory("demo", slot) / "manifest.json"
        while session.version != "3" and time.monotonic() < ends:
            time.sleep(0.01)
        # One that the disk spoils does not take over from one that answers.
        board.back("demo")
        while session.version != "2" and time.monotonic() < ends:
            time.sleep(0.01)
        manifest.chmod(0o600)
        manifest.write_bytes(b"{}")
        board.point_blindly("demo", slot)
        while not session.refused and time.monotonic() < ends:
            time.sleep(0.01)
        assert "not what was signed" in session.refused
        assert float(session.run({"x": x})["y"][0, 0]) == 3.0


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({}, "input 'x' is missing"),
        ({"x": np.ones((1, 4))}, "C-contiguous array of float32"),
        ({"x": np.ones((1, 5), np.float32)}, "has the shape"),
        ({"x": np.ones((4, 1), np.float32).T[:, ::2]}, "C-contiguous array of float32"),
    ],
)
def test_what_it_does_not_take_is_said(board: SlotBoard, feeds: dict[str, object], complaint: str) -> None:
    board.install("demo", 1, linear(2.0))
    with open_session(board.state, "demo") as session, pytest.raises(InvalidInputError, match=complaint):
        session.run(feeds)  # type: ignore[arg-type]


def test_there_is_nothing_to_open_without_a_version(board: SlotBoard) -> None:
    with pytest.raises(StateError, match="has no version"):
        open_session(board.state, "demo")
