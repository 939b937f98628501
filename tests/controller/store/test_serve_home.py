from __future__ import annotations

import stat
from pathlib import Path

import pytest
from edgeloop.store.serve_home import ServeHome
from edgeloop_foundation.errors import AlreadyExistsError, CorruptDataError


def test_two_daemons_do_not_share_a_home(tmp_path: Path) -> None:
    with ServeHome(tmp_path).held("http://127.0.0.1:1"):
        with pytest.raises(AlreadyExistsError, match=r"process \d+, http://127.0.0.1:1"):
            ServeHome(tmp_path).held("elsewhere").__enter__()
        with ServeHome(tmp_path / "other").held("elsewhere"):
            pass
    with ServeHome(tmp_path).held("again"):
        pass


def test_tokens_are_made_once_and_are_nobody_elses_to_read(tmp_path: Path) -> None:
    first = ServeHome(tmp_path).tokens()
    again = ServeHome(tmp_path).tokens()
    assert first.new
    assert not again.new
    assert (again.operator, again.observer) == (first.operator, first.observer)
    assert first.operator != first.observer
    assert len(first.operator) >= 43, "256 bits"
    for role in ("operator", "observer"):
        assert stat.S_IMODE(ServeHome(tmp_path).token_path(role).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "serve").stat().st_mode) == 0o700


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    home = ServeHome(tmp_path)
    home.tokens()
    home.token_path("observer").chmod(0o640)
    with pytest.raises(CorruptDataError, match="can be read by others"):
        home.tokens()
    home.token_path("observer").unlink()
    assert home.tokens().observer


def test_what_is_driven_is_remembered(tmp_path: Path) -> None:
    assert ServeHome(tmp_path).driven() == ()
    ServeHome(tmp_path).keep_driven(["b", "a"])
    assert ServeHome(tmp_path).driven() == ("a", "b")
