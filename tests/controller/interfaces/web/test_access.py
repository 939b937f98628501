"""Who may do what over HTTP: a table of callers, and what another site could make a browser send."""

from __future__ import annotations

import pytest
from edgeloop.interfaces.web.access import CSRF_HEADER, Access, Caller, Role
from edgeloop.store.serve_home import Tokens
from edgeloop_foundation.errors import AccessDeniedError

TOKENS = Tokens(operator="o" * 43, observer="v" * 43)
PEER = Caller(role=Role.OPERATOR, name="spiffe://f/controller/c", ambient=True)


class Wall:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def access(wall: Wall) -> Access:
    return Access(TOKENS, ["127.0.0.1", "Lab.Example", "::1"], secure=False, wall_s=wall)


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("127.0.0.1:8780", True), ("lab.example", True), ("LAB.EXAMPLE:1", True), ("[::1]:8780", True),
        ("evil.example:8780", False), ("", False), ("127.0.0.1.evil.example", False), ("[", False),
        ("evil.example@127.0.0.1:80", True), ("127.0.0.1@evil.example", False),
    ],
)  # fmt: skip
def test_only_our_own_hosts_are_known(access: Access, header: str, known: bool) -> None:
    assert access.knows_host(header) is known


@pytest.mark.parametrize(
    ("headers", "role"),
    [
        ({"authorization": f"Bearer {TOKENS.operator}"}, Role.OPERATOR),
        ({"authorization": f"bearer {TOKENS.observer}"}, Role.OBSERVER),
        ({"authorization": "Bearer x"}, None),
        ({"authorization": "Bearer "}, None),
        ({"authorization": f"Basic {TOKENS.operator}"}, None),
        ({"authorization": "Bearer ä"}, None),
        ({"cookie": "edgeloop_session=operator.99999999999.0"}, None),
        ({"cookie": "edgeloop_session=admin.1.2"}, None),
        ({"cookie": "\x00;="}, None),
        ({}, None),
    ],
)
def test_tokens_and_roles(access: Access, headers: dict[str, str], role: Role | None) -> None:
    caller = access.caller(headers, None)
    assert (caller.role if caller else None) is role


def test_a_wrong_token_is_not_made_good_by_a_certificate(access: Access) -> None:
    assert access.caller({"authorization": "Bearer x"}, PEER) is None
    assert access.caller({}, PEER) is PEER


def test_a_session_ends_and_cannot_be_changed(access: Access, wall: Wall) -> None:
    cookie = access.session(Role.OBSERVER)
    found = access.caller({"cookie": f"a=b; edgeloop_session={cookie}"}, None)
    assert found == Caller(role=Role.OBSERVER, name="observer token", ambient=True)
    assert access.by_session(cookie.replace("observer", "operator")) is None
    role, ends, mac = cookie.split(".")
    assert access.by_session(f"{role}.{int(ends) + 1}.{mac}") is None
    wall.now_s += 12 * 3600 + 1
    assert access.by_session(cookie) is None


def test_a_new_token_ends_the_sessions_of_the_old_one(access: Access, wall: Wall) -> None:
    other = Access(
        Tokens(operator="n" * 43, observer=TOKENS.observer), ["127.0.0.1"], secure=False, wall_s=wall
    )
    assert other.by_session(access.session(Role.OPERATOR)) is None
    assert other.by_session(access.session(Role.OBSERVER)) is not None


OPERATOR = Caller(role=Role.OPERATOR, name="operator token")
BROWSER = Caller(role=Role.OPERATOR, name="operator token", ambient=True)


@pytest.mark.parametrize(
    ("caller", "headers", "allowed"),
    [
        (OPERATOR, {}, True),
        (Caller(role=Role.OBSERVER, name="observer token"), {}, False),
        (BROWSER, {}, False),
        (BROWSER, {CSRF_HEADER: "wrong"}, False),
        (BROWSER, {CSRF_HEADER: "right"}, True),
        (
            BROWSER,
            {CSRF_HEADER: "right", "origin": "http://lab.example:8780", "sec-fetch-site": "same-origin"},
            True,
        ),
        (BROWSER, {CSRF_HEADER: "right", "origin": "http://evil.example"}, False),
        (BROWSER, {CSRF_HEADER: "right", "origin": "null"}, False),
        (BROWSER, {CSRF_HEADER: "right", "origin": "https://lab.example:8780"}, False),
        (BROWSER, {CSRF_HEADER: "right", "sec-fetch-site": "cross-site"}, False),
        (BROWSER, {CSRF_HEADER: "right", "sec-fetch-site": "same-site"}, False),
        (OPERATOR, {"origin": "http://evil.example"}, False),
        (PEER, {}, False),
    ],
)
def test_what_changes_something_comes_from_an_operator_and_from_our_own_pages(
    access: Access, caller: Caller, headers: dict[str, str], allowed: bool
) -> None:
    sent = {name: access.csrf(caller) if value == "right" else value for name, value in headers.items()}
    sent["host"] = "lab.example:8780"
    if allowed:
        access.check_change(sent, caller, "http")
    else:
        with pytest.raises(AccessDeniedError):
            access.check_change(sent, caller, "http")


def test_the_word_of_one_caller_is_not_that_of_another(access: Access) -> None:
    words = {access.csrf(one) for one in (OPERATOR, PEER, Caller(role=Role.OBSERVER, name="observer token"))}
    assert len(words) == 3
