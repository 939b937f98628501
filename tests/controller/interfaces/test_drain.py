"""Draining, and queueing by priority, from the command line against an agent that runs by itself."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import onnx
import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.devices import DeviceBook
from edgeloop.transport.base import connect
from edgeloop_protocol.types.lease import LeaseState

from tests.end_to_end.conftest import CLASSES, FEATURES, HIDDEN, two_layer_model

from .conftest import Call


class Shelf:
    """An agent of a simulated board that can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.socket = directory / "a.sock"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "edgeloop_agent", "serve", "--state", str(self._directory / "state")]
        command += ["--socket", str(self.socket), "--name", "shelf", "--simulate", "raspberry_pi_4"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("ready")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def word(self) -> str:
        return f"shelf=unix:{self.socket}"


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    # A socket's path has at most 107 bytes, and pytest's directories grow with the names of tests.
    with tempfile.TemporaryDirectory() as directory:
        shelf = Shelf(Path(directory))
        yield shelf
        shelf.stop()


def write_model(path: Path) -> None:
    import numpy as np

    rng = np.random.default_rng(3)
    first = rng.standard_normal((FEATURES, HIDDEN)).astype(np.float32)
    second = rng.standard_normal((HIDDEN, CLASSES)).astype(np.float32)
    onnx.save(two_layer_model(first, second), path)


def write_inventory(directory: Path, shelf: Shelf) -> None:
    """Write the inventory with the shelf and with a device that is not there."""
    book = DeviceBook(directory, path=directory / "devices.toml")
    for word in (shelf.word, f"gone=unix:{directory / 'gone.sock'}"):
        book.put(DeviceSpec.parse(word))


def test_a_drained_device_is_refused_and_named_until_it_is_undrained(
    call: Call, shelf: Shelf, tmp_path: Path
) -> None:
    write_model(tmp_path / "model.onnx")
    drained = call("device", "drain", shelf.word, "--reason", "new fan")
    assert drained.exit_code == 0, drained.output
    assert "shelf: drained by" in drained.output
    assert "new fan" in drained.output
    shelf.stop()
    shelf.start()
    doctor = call("device", "doctor", "--on", shelf.word)
    assert doctor.exit_code == 1, doctor.output
    assert "new fan" in doctor.output
    assert "edgeloop device undrain shelf" in doctor.output
    refused = call("bench", "model.onnx", "--on", shelf.word, "--as-deployed", "--wait", "10m")
    assert refused.exit_code == 3, refused.output
    assert "new fan" in refused.output
    assert "edgeloop device undrain shelf" in refused.output
    assert "longer" not in refused.output
    watched = call("device", "watch", shelf.word, "--count", "1")
    assert "drained by" in watched.output
    assert "new fan" in watched.output
    assert "free" not in watched.output.split("new fan")[1].split("  ")
    write_inventory(tmp_path, shelf)
    shelf.stop()
    listed = call("--inventory", "devices.toml", "device", "list")
    assert "new fan (just now)" in next(line for line in listed.output.splitlines() if "shelf" in line)
    listed = call("--inventory", "devices.toml", "device", "list", "--live")
    row = next(line for line in listed.output.splitlines() if "shelf" in line)
    assert "does not answer" in row
    assert "Last known: drained by" in row
    shelf.start()
    listed = call("--inventory", "devices.toml", "device", "list", "--live")
    assert "new fan" in next(line for line in listed.output.splitlines() if "shelf" in line), listed.output
    undrained = call("device", "undrain", shelf.word, "--json")
    assert json.loads(undrained.stdout)["availability"]["state"] == "open"
    rows = json.loads(call("--inventory", "devices.toml", "device", "list", "--json").stdout)["devices"]
    last = {row["name"]: (row["last_availability"], row["availability_age_s"]) for row in rows}
    assert last["shelf"][0]["state"] == "open"
    assert 0 <= last["shelf"][1] < 60
    assert last["gone"] == (None, None)
    doctor = call("device", "doctor", "--on", shelf.word)
    assert "new fan" not in doctor.output
    rows = json.loads(call("--inventory", "devices.toml", "device", "list", "--live", "--json").stdout)
    now = {row["name"]: row["now"] for row in rows["devices"]}
    assert [row["now"] for row in rows["devices"] if row["transport"] == "local"] == [None]
    assert now["shelf"]["availability"]["state"] == "open"
    assert now["gone"]["availability"] is None
    assert now["gone"]["reason"]


def test_a_device_rests_before_each_job_whoever_submits_it(call: Call, shelf: Shelf, tmp_path: Path) -> None:
    write_model(tmp_path / "model.onnx")
    shown = call("device", "cool-down", shelf.word, "--idle", "90s", "--below", "80")
    assert shown.exit_code == 0, shown.output
    assert "rests before each job: 90 s and until below 80 °C, at most 600 s" in shown.output
    shown = call("device", "cool-down", shelf.word, "--json")
    assert json.loads(shown.stdout)["availability"]["cool_down"]["idle_s"] == 90.0
    assert "rests before each job" in call("device", "doctor", "--on", shelf.word).output
    measured = call("bench", "model.onnx", "--on", shelf.word, "--json", "--rounds", "1")
    assert measured.exit_code == 0, measured.output
    (run,) = json.loads(measured.stdout)["devices"][0]["runs"]
    rest, checks = run["preflight"]["rest"], {c["name"]: c["answer"] for c in run["preflight"]["checks"]}
    assert rest["rested_s"] >= 90.0
    assert rest["waited_s"] > 80.0
    assert rest["temperature_celsius"] < 80.0
    assert checks["cool_down"] == "fit"
    assert "does not rest" in call("device", "cool-down", shelf.word, "--off").output
    wrong = call("device", "cool-down", shelf.word, "--idle", "20m")
    assert wrong.exit_code == 2, wrong.output
    assert "does not fit into its limit" in wrong.output


def test_what_cannot_be_drained_is_said(call: Call) -> None:
    for word in ("local", "sim:nuc11"):
        result = call("device", "drain", word, "--reason", "x")
        assert result.exit_code == 2, result.output
        assert "nothing to drain" in result.output


def test_a_wait_and_a_priority_that_cannot_be_are_wrong_use(call: Call) -> None:
    for words, said in (
        (("--wait", "soon"), "found 'soon'"),
        (("--wait", "48h"), "between 0 s and 24 h"),
        (("--priority", "101"), "101 is not in the range"),
        (("--priority", "high"), "'high' is not a valid integer range"),
    ):
        for verb in (
            *(("bench", "m"), ("compare", "a", "b"), ("run", "m"), ("deploy", "m")),
            *(("device", "calibrate", "--output", "m.toml"), ("device", "facts", "--probe")),
        ):
            result = call(*verb, "--on", "sim:nuc11", *words)
            assert result.exit_code == 2, (verb, words, result.output)
            assert said in result.output


def test_facts_without_a_probe_queue_for_nothing(call: Call) -> None:
    result = call("device", "facts", "--on", "sim:nuc11", "--wait", "10m")
    assert result.exit_code == 2, result.output
    assert "go with --probe" in result.output


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await holds():  # noqa: ASYNC110 - the state is that of another process
            await asyncio.sleep(0.05)


async def test_a_bench_queues_with_its_priority_and_leaves_when_it_is_killed(
    shelf: Shelf, tmp_path: Path
) -> None:
    write_model(tmp_path / "model.onnx")
    command = [
        sys.executable,
        "-m",
        "edgeloop",
        "--home",
        str(tmp_path / "home"),
        "bench",
    ]
    command += [
        str(tmp_path / "model.onnx"),
        "--on",
        shelf.word,
        "--as-deployed",
        "--wait",
        "10m",
        "--priority",
        "7",
    ]
    async with connect(DeviceSpec.parse(shelf.word), tmp_path / "home", 0) as client:

        async def queue() -> list[int]:
            leases = await client.list_leases()
            return [lease.priority for lease in leases if lease.state is LeaseState.QUEUED]

        async def is_queued() -> bool:
            assert process.returncode is None, "the bench ended without waiting"
            return await queue() == [7]

        async def is_gone() -> bool:
            return await queue() == []

        async with client.lease("holder"):
            process = await asyncio.create_subprocess_exec(
                *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                await eventually(is_queued)
            finally:
                process.kill()
                await process.wait()
            await eventually(is_gone)
