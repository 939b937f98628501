"""``edgeloop ca`` and ``edgeloop device enrol``: words in, sentences and documents out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Call


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_fleet_from_its_beginning_to_a_revocation(call: Call, home: Path, tmp_path: Path) -> None:
    made = json.loads(call("ca", "init", "--fleet", "lab", "--name", "desk", "--json").stdout)
    assert made["controller"] == "spiffe://lab/controller/desk"
    assert call("device", "enrol", "pi", "--state", str(tmp_path / "pi")).exit_code == 0
    assert call("ca", "issue", "observer", "eve", "-o", str(tmp_path / "eve")).exit_code == 0
    assert (tmp_path / "eve" / "identity.pem").exists()
    shown = call("ca", "revoke", "observer/eve")
    assert shown.exit_code == 0
    assert "spiffe://lab/observer/eve is revoked" in shown.stdout
    status = json.loads(call("ca", "status", "--json").stdout)
    assert [i["uri"] for i in status["issued"]] == [
        "spiffe://lab/controller/desk",
        "spiffe://lab/device/pi",
        "spiffe://lab/observer/eve",
    ]
    assert [r["uri"] for r in status["revoked"]] == ["spiffe://lab/observer/eve"]
    assert status["public_key"] == made["public_key"]
    table = call("ca", "status").stdout
    assert "revoked" in table
    assert "root 1 signs" in table
    assert call("ca", "renew", "--now").stdout.startswith("this controller: renewed")
    for step in ("begin", "switch"):
        assert call("ca", "rollover", step).exit_code == 0
    late = call("ca", "rollover", "finish")
    assert (late.exit_code, "still use certificates of the old root" in late.stderr) == (3, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("ca", "status"), "edgeloop ca init"),
        (("ca", "init", "--fleet", "La b"), "lower-case letters"),
        (("ca", "init", "--fleet", "\x1b[31m"), "is not possible"),
        (("ca", "revoke", "observer/eve"), "edgeloop ca init"),
        (("device", "enrol", "pi"), "give either --state"),
        (("device", "enrol", "pi", "--state", "s", "--listen", "h:1"), "give either --state"),
        (("device", "enrol", "pi", "--state", "s"), "edgeloop ca init"),
    ],
)
def test_wrong_use_is_one_sentence(call: Call, words: tuple[str, ...], sentence: str) -> None:
    result = call(*words)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "\x1b" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_devices_that_cannot_be_told_are_exit_3(call: Call) -> None:
    call("ca", "init", "--fleet", "lab", "--name", "desk")
    result = call("ca", "renew", "--on", "pi=grpc://127.0.0.1:1", "--json")
    assert result.exit_code == 3
    (told,) = json.loads(result.stdout)["devices"]
    assert told["status"] is None
    assert "Connection refused" in told["error"]
