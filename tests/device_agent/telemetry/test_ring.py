"""The ring of samples: bounded, exact about what is lost, unharmed by kills, power cuts and spoiled bytes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from edgeloop_agent.telemetry.ring import Ring
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.telemetry import TelemetrySample

ROOT = Path("/state/telemetry")
ROOMY = 1 << 20


def opened(fs: FileSystem, root: Path = ROOT, capacity_bytes: int = ROOMY) -> Ring:
    ring = Ring(fs, root, capacity_bytes=capacity_bytes)
    ring.open()
    return ring


def fill(ring: Ring, count: int, start: int = 0) -> None:
    for second in range(start, start + count):
        ring.append(TelemetrySample(sequence=0, wall_s=float(second)))


def numbers(ring: Ring, after: int = 0) -> tuple[int, list[int]]:
    dropped, samples = ring.read(ring.epoch, after)
    return dropped, [sample.sequence for sample in samples]


def test_samples_come_back_in_order_and_whole(tmp_path: Path) -> None:
    ring = opened(OsFileSystem(), tmp_path / "ring")
    sample = TelemetrySample(
        sequence=0, wall_s=5.0, temperature_celsius=51.5, absent=(("power_w", "no sensor"),)
    )
    assert [ring.append(sample) for _ in range(3)] == [1, 2, 3]
    dropped, found = ring.read("", 0)
    samples = list(found)
    assert (dropped, [s.sequence for s in samples]) == (0, [1, 2, 3])
    assert samples[0].temperature_celsius == 51.5
    assert samples[0].absent == (("power_w", "no sensor"),)
    assert numbers(ring, 2) == (0, [3])
    assert numbers(ring, 3) == (0, [])


def test_a_full_ring_gives_up_the_oldest_and_counts_them_for_every_reader(tmp_path: Path) -> None:
    capacity = 64 << 10
    ring = opened(OsFileSystem(), tmp_path / "ring", capacity)
    fill(ring, 800)
    status = ring.status(period_s=1.0, wall_s=0.0)
    kept = list(range(status.first_sequence, 801))
    assert status.kept_bytes <= capacity
    assert sum(path.stat().st_size for path in (tmp_path / "ring").glob("*.seg")) <= capacity
    assert 100 < len(kept) < 800
    assert (status.evicted_count, status.spoiled_count) == (status.first_sequence - 1, 0)
    for after in (0, 5, status.first_sequence - 1, status.first_sequence + 7, 799, 800):
        dropped, found = numbers(ring, after)
        assert found == [number for number in kept if number > after]
        # Every number after the reader's own is either shown or counted.
        assert dropped + len(found) == 800 - after
    # To a reader of another ring, everything before is lost.
    dropped, samples = ring.read("0" * 32, 799)
    assert dropped + len(list(samples)) == 800


def test_a_restart_goes_on_where_the_ring_was(tmp_path: Path) -> None:
    ring = opened(OsFileSystem(), tmp_path / "ring", 64 << 10)
    fill(ring, 500)
    before, epoch = numbers(ring), ring.epoch
    # Not closed: the agent was killed.
    again = opened(OsFileSystem(), tmp_path / "ring", 64 << 10)
    assert again.epoch == epoch
    assert numbers(again) == before
    assert again.append(TelemetrySample(sequence=0, wall_s=0.0)) == 501


def test_a_torn_tail_costs_one_sample_and_is_counted(tmp_path: Path) -> None:
    ring = opened(OsFileSystem(), tmp_path / "ring")
    fill(ring, 10)
    ring.close()
    (segment,) = (tmp_path / "ring").glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-3])
    again = opened(OsFileSystem(), tmp_path / "ring")
    assert again.append(TelemetrySample(sequence=0, wall_s=0.0)) == 11
    assert numbers(again) == (1, [*range(1, 10), 11])
    assert again.status(period_s=1.0, wall_s=0.0).spoiled_count == 1


def test_spoiled_bytes_in_an_older_file_are_holes_that_are_counted(tmp_path: Path) -> None:
    ring = opened(OsFileSystem(), tmp_path / "ring", 64 << 10)
    fill(ring, 200)
    ring.close()
    first, second, *_ = sorted((tmp_path / "ring").glob("*.seg"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 0xFF
    first.write_bytes(data)
    again = opened(OsFileSystem(), tmp_path / "ring", 64 << 10)
    dropped, found = numbers(again)
    assert dropped + len(found) == 200
    assert 0 < dropped < int(second.stem)
    assert found == [*range(1, int(second.stem) - dropped), *range(int(second.stem), 201)]


def test_a_ring_without_its_epoch_begins_anew(tmp_path: Path) -> None:
    ring = opened(OsFileSystem(), tmp_path / "ring")
    fill(ring, 3)
    ring.close()
    (tmp_path / "ring" / "epoch").write_bytes(b"nonsense")
    again = opened(OsFileSystem(), tmp_path / "ring")
    assert again.epoch != ring.epoch
    assert numbers(again) == (0, [])
    assert again.append(TelemetrySample(sequence=0, wall_s=0.0)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_what_was_shown_is_there_after_a_power_cut_and_its_numbers_are_not_used_again(seed: int) -> None:
    fs = SimulatedFileSystem()
    ring = opened(fs)
    fill(ring, 8)
    _, samples = ring.read(ring.epoch, 0)
    shown = {sample.sequence: sample for sample in samples}
    assert list(shown) == list(range(1, 9))
    fill(ring, 4, start=100)
    again = opened(fs.crash(seed))
    assert again.epoch == ring.epoch
    _, found = again.read(again.epoch, 0)
    kept = {sample.sequence: sample for sample in found}
    assert {number: kept.get(number) for number in shown} == shown
    assert again.append(TelemetrySample(sequence=0, wall_s=0.0)) > max(shown)


def test_a_disk_that_refuses_costs_samples_and_says_so() -> None:
    fs = SimulatedFileSystem()
    ring = opened(fs)
    fill(ring, 2)
    fs.fail_at(fs.operation_count, OSError(errno.ENOSPC, "No space left on device"), forever=True)
    fill(ring, 3)
    assert "No space left" in ring.status(period_s=1.0, wall_s=0.0).reason
    fs.settle()


def test_samples_after_a_refusal_are_kept_again() -> None:
    fs = SimulatedFileSystem()
    ring = opened(fs)
    fill(ring, 2)
    fs.fail_at(fs.operation_count, OSError(errno.EIO, "Input/output error"))
    fill(ring, 1)
    fill(ring, 2)
    assert numbers(ring) == (1, [1, 2, 4, 5])
    assert ring.status(period_s=1.0, wall_s=0.0).reason == ""
    assert numbers(opened(fs)) == (1, [1, 2, 4, 5])


def test_a_negative_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not negative"):
        opened(OsFileSystem(), tmp_path / "ring").read("", -1)


def test_a_reader_who_is_slow_gets_what_gave_way_meanwhile(tmp_path: Path) -> None:
    ring = opened(OsFileSystem(), tmp_path / "ring", 64 << 10)
    fill(ring, 400)
    dropped, samples = ring.read(ring.epoch, 0)
    first = next(samples)
    fill(ring, 400, start=400)
    found = [first, *samples]
    assert dropped + len(found) == 400
    assert found[-1].sequence == 400
