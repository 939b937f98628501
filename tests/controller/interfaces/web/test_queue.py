"""The API's queue over real sockets: what is taken, from whom, and what is refused."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from .front import Answer, Front, start, stop

CONTENT = b"no model " * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("queue")
    running = start(home)
    yield running
    assert stop(running) == 0


def post(front: Front, path: str, tree: Any, role: str = "operator") -> Answer:
    body = json.dumps(tree).encode()
    return front.ask(path, role, "POST", {"content-type": "application/json"}, body=body)


def put(front: Front, content: bytes = CONTENT, digest: str = DIGEST, role: str = "operator") -> Answer:
    return front.ask(f"/api/v1/uploads/{digest}", role, "PUT", body=content)


def tree(**changes: Any) -> dict[str, Any]:
    return {
        "request": {"model": "model/m.onnx"},
        "files": [{"path": "model/m.onnx", "digest": DIGEST}],
        "on": ["sim:nuc11"],
        **changes,
    }


def uploads(front: Front) -> set[str]:
    folder = front.home / "serve" / "uploads"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_an_observer_hands_nothing_in_and_sees_the_queue(front: Front) -> None:
    for answer in (
        put(front, role="observer"),
        post(front, "/api/v1/experiments", tree(), "observer"),
        post(front, "/api/v1/uploads/missing", {"digests": [DIGEST]}, "observer"),
        front.ask("/api/v1/queue/x", "observer", "DELETE"),
    ):
        assert answer.status == 403
    assert front.ask("/api/v1/queue", "observer").status == 200
    assert uploads(front) == set()


def test_what_is_sent_whole_is_there_and_anything_else_is_not(front: Front) -> None:
    assert put(front, CONTENT[:-1]).status == 400
    assert put(front, digest="a" * 63).status == 400
    assert put(front, digest="..%2F..%2Fx").status in (400, 404)
    assert uploads(front) == set()
    assert put(front).json() == {"digest": DIGEST, "size_bytes": len(CONTENT)}
    missing = post(front, "/api/v1/uploads/missing", {"digests": [DIGEST, "b" * 64]}).json()
    assert missing == {"digests": ["b" * 64]}
    assert uploads(front) == {DIGEST}


def test_a_sender_that_goes_away_leaves_nothing(front: Front) -> None:
    before = uploads(front)
    place = urlsplit(front.url)
    with socket.create_connection((place.hostname, place.port)) as link:
        head = (
            f"PUT /api/v1/uploads/{'c' * 64} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 4000000\r\n"
            f"Authorization: Bearer {front.tokens['operator']}\r\n\r\n"
        )
        link.sendall(head.encode() + b"x" * 2_000_000)
        ends = time.monotonic() + 20
        while uploads(front) == before:
            assert time.monotonic() < ends, "it was never begun"
            time.sleep(0.01)
    ends = time.monotonic() + 20
    while uploads(front) != before:
        assert time.monotonic() < ends, "a part stays"
        time.sleep(0.01)


def test_other_routes_keep_their_small_bodies(front: Front) -> None:
    large = {"digests": ["a" * 64] * 2000}
    answer = post(front, "/api/v1/uploads/missing", large)
    assert (answer.status, "at most 65536 bytes" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"request": {"model": "evil.py:model"}}, "is a function"),
        ({"request": {"model": "model/m.onnx", "data": "evil.py:data"}}, "is a function"),
        ({"request": {"model": "model/m.onnx", "data": "../../etc/passwd"}}, "not among the files"),
        ({"request": {"model": "/etc/passwd"}}, "not among the files"),
        ({"files": [{"path": "../m.onnx", "digest": DIGEST}]}, "cannot be the path"),
        ({"files": [{"path": "model/m.onnx", "digest": "b" * 64}]}, "are not on the server"),
        ({"on": ["unix:/run/other.sock"]}, "not in the server's inventory"),
        ({"on": []}, "no device is named"),
        ({"on": "sim:nuc11"}, "on is a list"),
        ({"request": {"model": "model/m.onnx", "require": ["speed"]}}, "speed"),
        ({"request": []}, "ExperimentRequest"),
    ],
)
def test_what_is_handed_in_is_checked_at_once(front: Front, changes: dict[str, Any], says: str) -> None:
    put(front)
    answer = post(front, "/api/v1/experiments", tree(**changes))
    assert answer.status in (400, 404)
    assert says in answer.json()["error"]["message"]
    assert front.ask("/api/v1/queue").json() == []


def test_one_is_handed_in_followed_and_told_as_text_everywhere(front: Front) -> None:
    put(front)
    name = "7" * 32
    odd = "b=1 @x (2).onnx"
    handed = tree(
        request={"model": f"model/{odd}"},
        files=[{"path": f"model/{odd}", "digest": DIGEST}],
        on=["<script>alert(1)</script>=sim:nuc11"],
    )
    first = post(front, f"/api/v1/experiments?queue_id={name}", handed)
    again = post(front, f"/api/v1/experiments?queue_id={name}", handed)
    assert (first.status, again.status) == (200, 200)
    assert first.json()["queue_id"] == again.json()["queue_id"] == name
    assert post(front, f"/api/v1/experiments?queue_id={name}", tree()).status == 409
    ends, after = time.monotonic() + 60, 0
    while True:
        news = front.ask(f"/api/v1/queue/{name}/events?after={after}&wait_s=10").json()
        after = news["sequence"]
        if news["entry"]["state"] == "failed":
            break
        assert time.monotonic() < ends, news
    assert news["entry"]["error_kind"] == "InvalidInputError"
    assert odd in news["entry"]["reason"]
    assert front.ask(f"/api/v1/queue/{name}", method="DELETE").status == 409
    assert front.ask("/api/v1/queue/none").status == 404
    rows = front.ask("/api/v1/queue").json()
    assert [row["queue_id"] for row in rows] == [name]
