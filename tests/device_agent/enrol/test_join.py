"""Joining with a token: the authority is checked first, and a token is good once, for one device."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeloop.identity.authority import Authority
from edgeloop.identity.join import JoinListener
from edgeloop.identity.tokens import JoinTokens
from edgeloop_agent.enrol.join import JoinToken, join
from edgeloop_agent.enrol.steps import Steps
from edgeloop_foundation.errors import InvalidInputError, UnauthenticatedError, UnavailableError

from tests.device_agent.enrol.conftest import DEVICE


@contextlib.contextmanager
def waiting(authority: Authority) -> Iterator[tuple[JoinListener, JoinTokens]]:
    tokens = JoinTokens(authority.directory / "tokens.json", time.time)
    with JoinListener(authority, tokens, "127.0.0.1", 0) as listener:
        yield listener, tokens


def test_a_device_joins_once(authority: Authority, steps: Steps, tmp_path: Path) -> None:
    with waiting(authority) as (listener, tokens):
        token = tokens.create(DEVICE, authority.fingerprint)
        assert token.split(".")[-1] not in (authority.directory / "tokens.json").read_text()
        address = f"127.0.0.1:{listener.port}"
        assert join(steps, address, token) == DEVICE
        assert listener.wait(1.0) == DEVICE
        with pytest.raises(UnauthenticatedError, match="was used"):
            join(Steps(tmp_path / "second"), address, token)
    assert [issued.uri for issued in authority.ledger().issued] == [DEVICE.uri]


def test_nothing_is_sent_to_another_authority(authority: Authority, steps: Steps, tmp_path: Path) -> None:
    token = JoinTokens(tmp_path / "t.json", time.time).create(DEVICE, authority.fingerprint)
    with waiting(Authority.create(tmp_path / "rogue", "lab")) as (listener, _):
        asked: list[bytes] = []
        listener.join = lambda body: asked.append(body)  # type: ignore[method-assign,assignment,return-value]
        with pytest.raises(UnauthenticatedError, match="not the authority of the token; nothing was sent"):
            join(steps, f"127.0.0.1:{listener.port}", token)
        # One that shows the true certificate does not hold its key.
        true_root = authority.signing().certificate_pem.encode()
        listener.root = lambda: true_root  # type: ignore[method-assign]
        with pytest.raises(UnauthenticatedError, match="does not hold the authority's key"):
            join(steps, f"127.0.0.1:{listener.port}", token)
    assert asked == []


def test_a_token_for_one_device_is_good_for_no_other(authority: Authority, steps: Steps) -> None:
    with waiting(authority) as (listener, tokens):
        token = tokens.create(DEVICE, authority.fingerprint)
        with pytest.raises(UnauthenticatedError, match="it is to name spiffe://lab/device/pi"):
            join(steps, f"127.0.0.1:{listener.port}", token.replace(".pi.", ".other."))
        assert authority.ledger().issued == ()


def test_nobody_there(steps: Steps, authority: Authority) -> None:
    with waiting(authority) as (listener, tokens):
        token, port = tokens.create(DEVICE, authority.fingerprint), listener.port
    with pytest.raises(UnavailableError, match="does not answer"):
        join(steps, f"127.0.0.1:{port}", token)


@pytest.mark.parametrize(
    "text", ["", "ej1", "ej1.lab.pi.aa.bb.cc", "\x1b[31m", "x" * 100_000, "ej1..pi." + "0" * 64 + ".0.0"]
)
def test_what_is_no_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no join token") as refused:
        JoinToken.parse(text)
    assert len(str(refused.value)) < 200
    assert "\x1b" not in str(refused.value)
    good = f"ej1.lab.pi.{'0' * 64}.{'1' * 16}.{'2' * 32}"
    assert "2" * 32 not in repr(JoinToken.parse(good))


@pytest.mark.parametrize("address", ["", "host", "host:0", "host:99999", ":1"])
def test_what_is_no_address_is_refused(address: str, steps: Steps) -> None:
    with pytest.raises(InvalidInputError, match="HOST:PORT"):
        join(steps, address, f"ej1.lab.pi.{'0' * 64}.{'1' * 16}.{'2' * 32}")
