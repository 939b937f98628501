"""What goes through a server that is named, what says that it does not, and that nothing is done here instead."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import onnx
import pytest
from edgeloop.interfaces.cli.main import _VERBS, cli
from edgeloop.interfaces.cli.through_server import LOCAL, SERVED
from edgeloop.store.serve_home import ServeHome

from tests.controller.orchestrate.test_experiment import small_model

from .conftest import Call
from .test_serve import kept
from .web.front import Front, start, stop

NOBODY = "http://127.0.0.1:9"


def leaves() -> dict[str, click.Command]:
    """Return every verb that does something, by its whole name."""
    found: dict[str, click.Command] = {}

    def walk(name: str, command: click.Command) -> None:
        if isinstance(command, click.Group):
            for below, one in command.commands.items():
                walk(f"{name} {below}", one)
        else:
            found[name] = command

    for verb in _VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        walk(verb, command)
    return found


LEAVES = leaves()


def least_words(command: click.Command, file: Path) -> list[str]:
    """Return words that the parser of a verb takes."""
    words: list[str] = []
    for parameter in command.params:
        if not parameter.required:
            continue
        value = "1"
        if isinstance(parameter.type, click.Path):
            value = str(file.parent / "new.toml") if not parameter.type.exists else str(file)
        elif isinstance(parameter.type, click.Choice):
            value = str(parameter.type.choices[0])
        words += [parameter.opts[0], value] if isinstance(parameter, click.Option) else [value]
    return words


def test_the_tables_name_verbs() -> None:
    assert set(LEAVES) >= SERVED | LOCAL
    assert not SERVED & LOCAL


@pytest.mark.parametrize("name", sorted(set(LEAVES) - SERVED - LOCAL))
def test_what_does_not_go_through_a_server_says_so(call: Call, tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    done = call("--server", NOBODY, *name.split(), *least_words(LEAVES[name], file))
    assert done.exit_code == 2, done.output
    assert f"edgeloop {name} does not go through a server" in done.output
    assert not (tmp_path / ".edgeloop").exists()


@pytest.mark.parametrize("name", sorted(SERVED))
def test_what_goes_through_one_never_looks_here_instead(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("EDGELOOP_SERVER_TOKEN", "t" * 40)
    words = {
        "run": [str(small_model(tmp_path)), "--on", "sim:nuc11"],
        "rollout start": [str(Path(__file__).parents[3] / "examples" / "rollout.toml")],
    }
    given = words.get(name, least_words(LEAVES[name], tmp_path / "file"))
    done = call("--server", NOBODY, *name.split(), *given)
    assert done.exit_code == 3, done.output
    assert "the server at http://127.0.0.1:9 does not answer: connection refused" in done.output
    assert not (tmp_path / ".edgeloop").exists()


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("http://lab.example:8780", 2, "the token would travel in the clear"),
        ("lab:8780", 2, "a server is written"),
        ("http://127.0.0.1:x", 2, "no address of a server"),
        ("http://127.0.0.1:9/path", 2, "a server is written"),
        ("http://127.0.0.1:9", 3, "there is no token"),
    ],
)
def test_an_address_that_cannot_be_used_is_explained(call: Call, url: str, code: int, says: str) -> None:
    done = call("--server", url, "device", "list")
    assert (done.exit_code, says in done.output) == (code, True), done.output


def test_the_file_names_a_server_and_an_empty_option_none(call: Call, tmp_path: Path) -> None:
    (tmp_path / "edgeloop.toml").write_text(
        f'apiVersion = "edgeloop/v1"\nkind = "Config"\nserver = "{NOBODY}"\nserver_token_file = "none.token"\n'
    )
    refused = call("device", "list")
    assert (refused.exit_code, "none.token, does not exist" in refused.output) == (2, True)
    assert call("sim", "list").exit_code == 2
    assert call("--server", "", "device", "list").exit_code == 0


def test_the_token_of_a_home_goes_to_its_own_daemon_alone(call: Call, tmp_path: Path) -> None:
    home = ServeHome(tmp_path / ".edgeloop")
    token = home.tokens().operator
    with home.held(NOBODY):
        assert "does not answer" in call("--server", NOBODY, "device", "list").output
        assert "there is no token" in call("--server", "http://127.0.0.1:10", "device", "list").output
    assert "there is no token" in call("--server", NOBODY, "device", "list").output
    assert token


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("server")
    kept(home, "original")
    (home / "devices.toml").write_text('[devices.pi]\naddress = "unix:/nowhere/a.sock"\ngroups = ["lab"]\n')
    running = start(home)
    ends = time.monotonic() + 60
    while not running.ask("/api/v1/devices").json()["devices"]:
        assert time.monotonic() < ends, "it follows nobody"
        time.sleep(0.05)
    yield running
    assert stop(running) == 0


@pytest.fixture
def there(call: Call, front: Front, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("EDGELOOP_SERVER", front.url)
    monkeypatch.setenv("EDGELOOP_SERVER_TOKEN", front.tokens["operator"])
    return call


def asked(there: Call, *words: str) -> Any:
    done = there(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_looks_are_answered_by_the_server(there: Call, front: Front, tmp_path: Path) -> None:
    assert [row["name"] for row in asked(there, "device", "list")["devices"]] == ["pi"]
    assert "pi" in there("device", "list").stdout
    (model,) = asked(there, "model", "list")["models"]
    digest = model["versions"][0]["digest"]
    assert asked(there, "model", "tag", digest[:10], "prod") == {"tag": "prod", "artifact_digest": digest}
    assert asked(there, "model", "show", "prod")["versions"][0]["tags"] == ["prod"]
    assert asked(there, "model", "untag", "prod")["artifact_digest"] == digest
    assert [one["digest"] for one in asked(there, "artifact", "list")["artifacts"]] == [digest]
    assert asked(there, "alerts", "list") == {"alerts": []}
    assert asked(there, "rollout", "status") == {"rollouts": []}
    assert asked(there, "queue", "list") == {"queue": []}
    missing = there("telemetry", "show", "pi")
    assert (missing.exit_code, "pi" in missing.output) == (2, True)
    assert there("report").exit_code == 2
    assert not (tmp_path / ".edgeloop").exists()


def test_mistakes_end_as_they_end_here(there: Call, front: Front, tmp_path: Path) -> None:
    model = str(small_model(tmp_path))
    (tmp_path / "code.py").write_text("raise SystemExit(9)\n")
    cases = {
        "would run on the server": ("run", model, "--data", "code.py:load", "--on", "sim:nuc11"),
        "a function": ("run", "code.py:load", "--on", "sim:nuc11"),
        "does not exist": ("run", model, "--data", "none.npz", "--on", "sim:nuc11"),
        "no device is named": ("run", model),
        "not in the server's inventory": ("run", model, "--on", "ssh:pi@10.0.0.9"),
        "speed": ("run", model, "--on", "sim:nuc11", "--require", "speed < 3"),
        "not made by a server": ("run", model, "--on", "sim:nuc11", "--dry-run"),
        "is in the queue": ("queue", "attach", "none"),
        "there are no releases": (
            "rollout",
            "start",
            str(Path(__file__).parents[3] / "examples" / "rollout.toml"),
        ),
    }
    for says, words in cases.items():
        done = there(*words)
        assert (done.exit_code, says in done.output) == (2, True), (words, done.output)
    assert asked(there, "queue", "list") == {"queue": []}


def test_an_observer_is_told_that_he_may_look(
    call: Call, front: Front, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGELOOP_SERVER_TOKEN", front.tokens["observer"])
    words = ("--server", front.url)
    assert call(*words, "device", "list").exit_code == 0
    done = call(*words, "run", str(small_model(tmp_path)), "--on", "sim:nuc11")
    assert (done.exit_code, "an observer may look and change nothing" in done.output) == (3, True)


def test_external_data_goes_along_and_one_is_handed_in_and_called_off(
    there: Call, front: Front, tmp_path: Path
) -> None:
    model = onnx.load(small_model(tmp_path))
    weights = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [600], [0.5] * 600)
    model.graph.initializer.append(weights)
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.bin", size_threshold=0)
    (tmp_path / "set" / "0").mkdir(parents=True)
    (tmp_path / "set" / "0" / "a.bin").write_bytes(b"\0" * 8)
    name = there(
        "run", "big.onnx", "--data", "set?scale=1", "--on", "sim:nuc11", "--detach", "--priority", "3"
    ).stdout.strip()
    entry = json.loads(front.ask(f"/api/v1/queue/{name}").text)
    assert (entry["model"], entry["data"], entry["priority"]) == ("big.onnx", "set", 3)
    there("queue", "cancel", name)
    row = asked(there, "queue", "list")["queue"][0]
    assert row["queue_id"] == name
    assert row["state"] in ("cancelled", "failed")
