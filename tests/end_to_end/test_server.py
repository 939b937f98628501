"""The command line through a running server: handed in, called off, followed over a kill, never done here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from edgeloop.interfaces.server import Server
from edgeloop_protocol.convert import to_canonical_json

from .conftest import Tiny

RECIPES = "recipes: {int8: [{pass: quantize_dynamic}]}\n"
SHORT = ("--rounds", "1", "--samples", "8", "--settle", "0s")


@dataclass
class There:
    """A server in a home of its own, and a caller in a directory of its own."""

    home: Path
    here: Path
    url: str = ""
    process: subprocess.Popen[str] | None = field(default=None)

    def begin(self) -> None:
        listen = self.url.removeprefix("http://") or "127.0.0.1:0"
        command = [
            sys.executable,
            "-m",
            "edgeloop",
            "--home",
            str(self.home),
            "serve",
            "--listen",
            listen,
            "--json",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=self.home)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["url"]

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def environment(self) -> dict[str, str]:
        token = str(self.home / "serve" / "operator.token")
        return {
            **os.environ, "EDGELOOP_HOME": str(self.here / "never"), "EDGELOOP_SERVER_TOKEN_FILE": token,
            "EDGELOOP_SERVER": self.url, "COLUMNS": "200",
        }  # fmt: skip

    def started(self, tiny: Tiny, *words: object) -> subprocess.Popen[str]:
        recipes = self.here / "recipes.yaml"
        recipes.write_text(RECIPES)
        run = [
            "run",
            tiny.model,
            "--data",
            tiny.data,
            "--on",
            "sim:nuc11",
            "--recipes",
            recipes,
            *SHORT,
            *words,
        ]
        return subprocess.Popen(
            [sys.executable, "-m", "edgeloop", *map(str, run)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.here, env=self.environment(),
        )  # fmt: skip

    def server(self) -> Server:
        return Server.at(self.url, token=(self.home / "serve" / "operator.token").read_text().strip())


def until(caller: subprocess.Popen[str], words: str) -> None:
    assert caller.stderr is not None
    while words not in (line := caller.stderr.readline()):
        assert line, f"it ended without {words!r}"


@pytest.fixture
def there(tmp_path: Path) -> Iterator[There]:
    found = There(tmp_path / "home", tmp_path / "here")
    found.home.mkdir()
    found.here.mkdir()
    found.begin()
    yield found
    found.end()


@pytest.mark.timeout(300)
def test_an_experiment_outlives_a_killed_server_and_ends_as_one_here(there: There, tiny: Tiny) -> None:
    first = there.started(tiny, "--json", "--report", "report")
    # The experiment takes some seconds: the server has to be gone before it is done.
    until(first, "Devices")
    there.end(signal.SIGKILL)
    there.begin()
    # Nobody can be asked at its terminal: an interrupt calls it off, as it ends an experiment here.
    second = there.started(tiny)
    until(second, "is in the queue")
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 130, second.communicate()
    out, err = first.communicate(timeout=250)
    assert first.returncode == 0, err
    assert "does not answer" in err
    assert "The server ended meanwhile; the experiment began anew." in err
    assert "Measure on the devices" in err
    result = json.loads(out)
    assert [c["recipe"]["label"] for c in result["candidates"]] == ["original", "int8"]
    assert result["experiment_id"] in (there.here / "report" / "index.html").read_text()
    server = there.server()
    called_off, done = server.queue()
    # Whether its turn had come when it was called off is a matter of speed.
    assert (called_off.state, called_off.attempt_count in {0, 1}) == ("cancelled", True)
    assert (done.state, done.attempt_count, done.experiment_id) == ("done", 2, result["experiment_id"])
    recorded = server.result(result["experiment_id"][:10])
    server.close()
    assert json.loads(to_canonical_json(recorded)) == result
    assert not (there.here / "never").exists(), "nothing is done in the home of the caller"
    assert second.communicate()[0] == ""
