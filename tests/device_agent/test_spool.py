"""The spool: no record lost, none changed, no number used twice."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import pytest
from edgeloop_agent.job_journal import JobRecord, run_without_measurement
from edgeloop_agent.spool import Spool
from edgeloop_foundation.errors import BusyError, InvalidInputError, StateError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.job import JobState
from edgeloop_protocol.types.run import FailureKind, Outcome, Run

from .conftest import make_spec

ROOT = Path("/state/spool")


def open_spool(fs: FileSystem, root: Path = ROOT, reserve_bytes: int = 0) -> Spool:
    spool = Spool(fs, root, reserve_bytes=reserve_bytes)
    spool.open()
    return spool


def make_run(number: int) -> Run:
    spec = make_spec("0" * 64)
    record = JobRecord(
        job_id=f"job-{number}",
        request_id=spec.request_id,
        body_digest="",
        order=1,
        state=JobState.RUNNING,
        fencing_token=1,
        spec=spec,
        device_id="d",
        device_name="n",
        boot_id="b",
        agent_version="0",
        accepted_wall_s=1.0,
    )
    return run_without_measurement(
        record, spec.trials[0], Outcome.DEVICE_ERROR, FailureKind.INTERRUPTED, "because"
    )


@pytest.fixture(params=["disk", "simulated"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FileSystem, Path]:
    return (OsFileSystem(), tmp_path / "spool") if request.param == "disk" else (SimulatedFileSystem(), ROOT)


def test_records_wait_in_order_over_a_restart(place: tuple[FileSystem, Path]) -> None:
    spool = open_spool(*place)
    runs = [make_run(number) for number in range(3)]
    assert [spool.append(run) for run in runs] == [1, 2, 3]
    again = open_spool(*place)
    assert again.epoch == spool.epoch
    assert [(row.sequence, row.run) for row in again.fetch(0)] == list(enumerate(runs, start=1))
    assert [row.sequence for row in again.fetch(2)] == [3]


def test_a_number_is_never_used_again(place: tuple[FileSystem, Path]) -> None:
    spool = open_spool(*place)
    spool.append(make_run(1))
    spool.append(make_run(2))
    assert spool.acknowledge(spool.epoch, 2) == 0
    again = open_spool(*place)
    assert list(again.fetch(0)) == []
    assert again.append(make_run(3)) == 3


def test_only_given_numbers_of_this_epoch_are_acknowledged(place: tuple[FileSystem, Path]) -> None:
    spool = open_spool(*place)
    spool.append(make_run(1))
    with pytest.raises(StateError, match="epoch"):
        spool.acknowledge("other", 1)
    for number in (2, -1):
        with pytest.raises(InvalidInputError, match="never written"):
            spool.acknowledge(spool.epoch, number)
    assert spool.waiting_count == 1


def test_a_spoiled_record_is_set_aside_and_counted(tmp_path: Path) -> None:
    spool = open_spool(OsFileSystem(), tmp_path)
    for number in range(3):
        spool.append(make_run(number))
    path = tmp_path / f"{2:016d}.run"
    path.write_bytes(path.read_bytes().replace(b"because", b"becalse"))
    again = open_spool(OsFileSystem(), tmp_path)
    assert [row.sequence for row in again.fetch(0)] == [1, 3]
    assert again.spoiled_count == 1
    assert path.with_suffix(".corrupt").exists()
    assert open_spool(OsFileSystem(), tmp_path).spoiled_count == 1


def test_a_spoiled_acknowledgement_begins_a_new_epoch(tmp_path: Path) -> None:
    spool = open_spool(OsFileSystem(), tmp_path)
    spool.append(make_run(1))
    spool.acknowledge(spool.epoch, 1)
    (tmp_path / "acknowledged").write_bytes(b"junk")
    again = open_spool(OsFileSystem(), tmp_path)
    assert again.epoch != spool.epoch


def test_below_the_reserve_jobs_are_refused_but_no_record(tmp_path: Path) -> None:
    spool = open_spool(SimulatedFileSystem(capacity_bytes=10_000), reserve_bytes=9_000)
    spool.require_space()
    spool.append(make_run(1))
    with pytest.raises(BusyError, match="less than the reserve"):
        spool.require_space()
    assert spool.append(make_run(2)) == 2


def test_a_failed_write_uses_up_no_number() -> None:
    fs = SimulatedFileSystem()
    spool = open_spool(fs)
    for offset in range(4):
        fs.fail_at(fs.operation_count + offset, OSError(errno.ENOSPC, "full"))
        with pytest.raises(OSError, match="full"):
            spool.append(make_run(1))
    assert spool.append(make_run(2)) == 1


def test_blobs_of_waiting_records_are_pinned_until_acknowledged() -> None:
    from edgeloop_protocol.types.measurement import Estimate
    from edgeloop_protocol.types.run import Timing

    absent = Estimate.absent("not measured")
    timing = Timing(cold_load_s=absent, warm_load_s=absent, first_inference_s=absent, samples_digest="a" * 64)
    fs = SimulatedFileSystem()
    spool = open_spool(fs)
    spool.append(dataclasses.replace(make_run(1), timing=timing))
    assert open_spool(fs).referenced_blobs() == spool.referenced_blobs() == {"a" * 64}
    spool.acknowledge(spool.epoch, 1)
    assert spool.referenced_blobs() == set()


def test_every_power_cut_leaves_a_record_whole_or_absent() -> None:
    fs = SimulatedFileSystem()
    spool = open_spool(fs)
    first, second = make_run(1), make_run(2)
    spool.append(first)
    fs.settle()
    spool.append(second)
    found = set()
    for crashed in fs.crash_states():
        again = open_spool(crashed)
        assert again.epoch == spool.epoch
        rows = [row.run for row in again.fetch(0)]
        assert rows in ([first], [first, second])
        assert again.spoiled_count == 0
        found.add(len(rows))
    assert found == {1, 2}
    for seed in range(20):
        lost = SimulatedFileSystem()
        again = open_spool(lost)
        again.append(first)
        assert again.append(second) == 2
        assert [row.run for row in open_spool(lost.crash(seed)).fetch(0)] == [first, second]


def test_every_power_cut_in_an_acknowledgement_keeps_the_rest_and_the_numbers() -> None:
    fs = SimulatedFileSystem()
    spool = open_spool(fs)
    for number in range(3):
        spool.append(make_run(number))
    fs.settle()
    spool.acknowledge(spool.epoch, 2)
    for crashed in fs.crash_states():
        again = open_spool(crashed)
        assert [row.sequence for row in again.fetch(0)] in ([1, 2, 3], [3])
        assert again.append(make_run(9)) == 4
