"""Faults of simulated boards over the real wire: what each does, and that nothing is lost or counted twice."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop.transport.base import connect
from edgeloop.transport.client import AgentClient
from edgeloop.transport.collect import run_job
from edgeloop_foundation.errors import BusyError, EdgeloopError, InvalidInputError
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.run import FailureKind, Outcome, Run, SpooledRun
from edgeloop_protocol.types.trial import Benchmark, JobSpec, Trial

CALM = 'kind = "slow"\nat_s = 1e6\nfactor = 2'
"""Never reached."""

HEAD = 'apiVersion = "edgeloop/v1"\nkind = "Faults"\n'

Network = tuple[ArtifactDirectory, str]


def script(home: Path, *rules: str) -> DeviceSpec:
    """Return a board with these faults."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "faults.toml"
    path.write_text(HEAD + "".join(f"[[fault]]\n{rule}\n" for rule in rules))
    return DeviceSpec(
        name="pi",
        transport="simulated",
        address="raspberry_pi_4",
        options=(("faults", str(path)), ("seed", "7")),
    )


def happened(home: Path) -> list[str]:
    """Return the faults that the board noted, a line each."""
    logs = list(home.glob("agents/*/state/faults.jsonl"))
    return logs[0].read_text().splitlines() if logs else []


class Records:
    """What came back, by number of the spool."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Run] = {}

    async def ingest(self, spooled: SpooledRun) -> bool:
        new = (spooled.epoch, spooled.sequence) not in self.rows
        self.rows[spooled.epoch, spooled.sequence] = spooled.run
        return new


async def one_job(
    client: AgentClient, network: Network, records: Records, trials: Sequence[str] = ("a", "b")
) -> tuple[Run, ...]:
    """Push, lease, and run one short benchmark of some trials."""
    store, digest = network
    await client.push_artifact(digest, store)
    async with client.lease("test") as lease:
        spec = JobSpec(
            request_id=str(uuid.uuid4()),
            lease_id=lease.lease_id,
            fencing_token=lease.fencing_token,
            trials=tuple(Trial(trial_id=t, label=t, artifact_digest=digest) for t in trials),
            benchmark=Benchmark(
                rounds=2,
                steady_s_max=0.3,
                batch_s=0.02,
                seed=1,
                measure_memory=False,
                measure_nodes=False,
                check_parity=False,
            ),
            deadline_s=60.0,
        )
        return await run_job(client, spec, records.ingest)


async def run(spec: DeviceSpec, home: Path, network: Network) -> tuple[tuple[Run, ...], Facts]:
    """Run one job on a board with faults and return its records, and the facts afterwards."""
    records = Records()
    async with connect(spec, home) as client:
        runs = await one_job(client, network, records)
        facts = await client.describe()
    assert len({run.run_id for run in records.rows.values()}) == len(records.rows)
    return runs, facts


def median_s(run: Run) -> float:
    assert run.outcome is Outcome.SUCCESS, run.failure_reason
    assert run.timing is not None
    assert run.timing.steady is not None
    return run.timing.steady.p50.value


async def test_a_dropped_connection_costs_nothing(tmp_path: Path, network: Network) -> None:
    spec = script(
        tmp_path, 'kind = "drop"\nafter_bytes = 100000', 'kind = "drop"\nmethod = "Watch"\nafter_requests = 1'
    )
    runs, _ = await run(spec, tmp_path, network)
    assert [run.outcome for run in runs] == [Outcome.SUCCESS] * 2
    assert len(happened(tmp_path)) == 2


async def test_an_upload_goes_on_where_the_connection_broke(tmp_path: Path, network: Network) -> None:
    store, digest = network
    async with connect(script(tmp_path, 'kind = "drop"\nafter_bytes = 150000'), tmp_path) as client:
        pushed = await client.push_artifact(digest, store)
        assert pushed.retries >= 1
        assert await client.find_missing(store.manifest(digest).files) == set()
    assert len(happened(tmp_path)) == 1


async def test_a_corrupted_upload_is_found_by_its_digest(tmp_path: Path, network: Network) -> None:
    store, digest = network
    async with connect(script(tmp_path, 'kind = "corrupt"\nafter_bytes = 50000'), tmp_path) as client:
        with pytest.raises(EdgeloopError, match=r"^pi: .*[0-9a-f]{12}"):
            await client.push_artifact(digest, store)
        # Nothing of it was kept, and the next push, over a link that is well again, goes through.
        await client.push_artifact(digest, store)
        assert await client.find_missing(store.manifest(digest).files) == set()


async def test_a_request_that_is_held_up_is_answered_later(tmp_path: Path) -> None:
    spec = script(tmp_path, 'kind = "delay"\nmethod = "Describe"\nafter_requests = 2\ndelay_s = 0.4')
    async with connect(spec, tmp_path) as client:
        took = []
        for _ in range(3):
            begin = time.monotonic()
            await client.describe()
            took.append(time.monotonic() - begin)
    assert took[1] >= 0.4
    assert took[2] < took[1]


@pytest.mark.parametrize(("kind", "new_boot"), [("power_loss", True), ("crash", False), ("reboot", True)])
async def test_a_board_that_goes_down_during_a_job_brings_its_rows_when_it_is_back(
    kind: str, new_boot: bool, tmp_path: Path, network: Network
) -> None:
    spec = script(tmp_path, f'kind = "{kind}"\nmethod = "Watch"\nafter_requests = 1\noff_s = 0.3')
    async with connect(spec, tmp_path) as client:
        before = await client.describe()
        runs = await one_job(client, network, Records())
        after = await client.describe()
    assert [run.trial.trial_id for run in runs] == ["a", "b"]
    for row in runs:
        assert row.outcome is Outcome.SUCCESS or row.failure_kind is FailureKind.INTERRUPTED
    assert (after.boot_id != before.boot_id) is new_boot
    assert after.device_id == before.device_id


async def test_power_fails_between_two_writes_of_the_upload_and_again_while_the_board_starts(
    tmp_path: Path, network: Network
) -> None:
    spec = script(
        tmp_path,
        'kind = "power_loss"\nafter_writes = 1\noff_s = 0.2',
        'kind = "power_loss"\nafter_writes = 2\noff_s = 0.2',
        'kind = "crash"\nafter_writes = 3\noff_s = 0.2',
    )
    runs, facts = await run(spec, tmp_path, network)
    assert [run.outcome for run in runs] == [Outcome.SUCCESS] * 2
    assert len(happened(tmp_path)) == 3
    assert facts.simulated


async def test_a_full_disk_refuses_the_upload_and_takes_it_when_there_is_room(
    tmp_path: Path, network: Network
) -> None:
    store, digest = network
    spec = script(tmp_path, 'kind = "disk_full"\nmethod = "Write"\nafter_requests = 1\nfor_s = 1.0')
    async with connect(spec, tmp_path) as client:
        with pytest.raises(BusyError, match=r"^pi: .*(disk is full|no room)"):
            await client.push_artifact(digest, store)
        assert await client.health()
        await asyncio.sleep(1.0)
        await client.push_artifact(digest, store)


async def test_results_wait_for_a_disk_that_is_full_when_a_job_ends(tmp_path: Path, network: Network) -> None:
    spec = script(tmp_path, 'kind = "disk_full"\nat_s = 0.2\nfor_s = 0.5')
    runs, _ = await run(spec, tmp_path, network)
    assert [run.trial.trial_id for run in runs] == ["a", "b"]
    assert len(happened(tmp_path)) == 1


async def test_what_lasts_shows_in_times_sensors_and_clocks(tmp_path: Path, network: Network) -> None:
    """One board for four faults: each shows in a place of its own."""
    rules = (
        'kind = "slow"\nat_s = 0\nfactor = 3',
        'kind = "throttle"\nat_s = 0\nfactor = 0.5',
        'kind = "sensor_gone"\nat_s = 0\nsensor = "thermal"',
        'kind = "clock_skew"\nat_s = 0\nskew_s = -86400',
    )
    begin = time.time()
    (calm, *_), _ = await run(script(tmp_path / "calm", CALM), tmp_path / "calm", network)
    (slow, *_), _ = await run(script(tmp_path / "slow", rules[0]), tmp_path / "slow", network)
    assert median_s(slow) / median_s(calm) == pytest.approx(3.0, rel=0.05)
    (row, *_), facts = await run(script(tmp_path, *rules[1:]), tmp_path, network)
    assert median_s(row) > 1.2 * median_s(calm)
    assert row.simulation is not None
    assert row.simulation.basis.endswith("with scripted faults")
    assert row.conditions_before is not None
    seen = {reading.name: reading.value for reading in row.conditions_before.readings}
    assert seen["throttle/frequency_capped_now"] == 1.0
    assert not [name for name in seen if name.startswith("thermal/")]
    (thermal,) = (sensor for sensor in facts.sensors if sensor.name == "thermal")
    assert thermal.reason == "absent: no thermal zone under /sys/class/thermal"
    assert row.conditions_before.wall_time_s == pytest.approx(begin - 86400, abs=60)


async def test_one_seed_replays_the_same_faults_in_the_same_places(tmp_path: Path, network: Network) -> None:
    rules = (
        'kind = "drop"\nafter_requests = [3, 6]\ncount = 2',
        'kind = "delay"\nafter_bytes = [1000, 200000]\ndelay_s = 0.01',
        'kind = "slow"\nat_s = [0.0, 0.2]\nfactor = 2',
    )
    notes = []
    for number in range(2):
        home = tmp_path / str(number)
        runs, _ = await run(script(home, *rules), home, network)
        notes.append((happened(home), [median_s(row) for row in runs]))
    assert len(notes[0][0]) == 4
    assert notes[0] == notes[1]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('kind = "bang"', "found str 'bang', allowed is one of 'drop'"),
        ('kind = "sensor_gone"\nat_s = 0\nsensor = "radar"', "found 'radar', allowed are cpufreq"),
        ('kind = "drop"\nafter_requests = 1\nboards = "nuc-*"', "fits none of the 1 boards"),
    ],
)
async def test_a_script_that_cannot_be_used_is_refused_before_anything_starts(
    rule: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        await connect(script(tmp_path, rule), tmp_path).open()
    assert happened(tmp_path) == []
    assert not (tmp_path / "agents" / "pi.raspberry_pi_4" / "state").exists()
