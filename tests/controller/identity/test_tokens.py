"""Join tokens at rest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from edgeloop.identity.tokens import TOKEN_LIFE_S, JoinTokens
from edgeloop_foundation.errors import CorruptDataError, UnauthenticatedError
from edgeloop_protocol.types.identity import Identity, Role

PI = Identity(fleet="lab", role=Role.DEVICE, name="pi")


class Tokens:
    def __init__(self, path: Path) -> None:
        self.now_s = 1000.0
        self.path = path
        self.store = JoinTokens(path, lambda: self.now_s)

    def create(self, identity: Identity = PI) -> tuple[str, str]:
        token_id, secret = self.store.create(identity, "0" * 64).split(".")[-2:]
        return token_id, secret


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens.json")


def test_a_token_is_good_once_and_only_its_hash_is_kept(tokens: Tokens) -> None:
    token_id, secret = tokens.create()
    assert secret not in tokens.path.read_text()
    assert tokens.path.stat().st_mode & 0o777 == 0o600
    assert tokens.store.check(token_id, secret) == PI
    tokens.store.use(token_id)
    with pytest.raises(UnauthenticatedError):
        JoinTokens(tokens.path, lambda: tokens.now_s).check(token_id, secret)


def test_a_token_lives_for_fifteen_minutes(tokens: Tokens) -> None:
    token = tokens.create()
    tokens.now_s += TOKEN_LIFE_S - 1
    tokens.store.check(*token)
    tokens.now_s += 2
    with pytest.raises(UnauthenticatedError, match="older than 15 minutes"):
        tokens.store.check(*token)


def test_guesses_use_a_token_up(tokens: Tokens) -> None:
    token_id, secret = tokens.create()
    for guess in range(5):
        tokens.store.check(token_id, secret)
        with pytest.raises(UnauthenticatedError):
            tokens.store.check(token_id, f"{guess:032x}")
    with pytest.raises(UnauthenticatedError):
        tokens.store.check(token_id, secret)


def test_a_new_token_for_a_device_voids_its_old_one_and_no_other(tokens: Tokens) -> None:
    first, other = tokens.create(), tokens.create(dataclasses.replace(PI, name="nano"))
    second = tokens.create()
    with pytest.raises(UnauthenticatedError):
        tokens.store.check(*first)
    assert tokens.store.check(*second) == PI
    assert tokens.store.check(*other).name == "nano"


def test_a_damaged_file_is_told(tokens: Tokens) -> None:
    tokens.path.write_text("{")
    with pytest.raises(CorruptDataError, match="damaged"):
        tokens.create()
