"""The simulated file system's own promises: what is durable, what may be lost, what fails."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.ports.simulated_fs import PowerCut, SimulatedFileSystem

_A, _B = Path("/a"), Path("/b")


def contents(fs: SimulatedFileSystem, path: Path) -> set[bytes | None]:
    return {state.read(path) if state.exists(path) else None for state in fs.crash_states()}


def test_unsynced_appends_may_be_lost_torn_zeroed_or_reordered() -> None:
    fs = SimulatedFileSystem()
    file = fs.create(_A)
    file.write(b"base")
    file.sync()
    fs.sync_directory(Path("/"))
    fs.settle()
    file = fs.append(_A)
    file.write(b"11")
    file.write(b"22")
    found = contents(fs, _A)
    assert {b"base", b"base1", b"base11", b"base\0\0", b"base1122", b"base\0\x0022"} <= found
    assert all(data is not None and data.startswith(b"base") for data in found)


def test_synced_data_stay_while_later_data_may_go() -> None:
    fs = SimulatedFileSystem()
    file = fs.create(_A)
    fs.sync_directory(Path("/"))
    file.write(b"kept")
    file.sync()
    fs.settle()
    file.write(b"lost?")
    assert all(data is not None and data.startswith(b"kept") for data in contents(fs, _A))


def test_a_name_needs_the_sync_of_its_directory() -> None:
    fs = SimulatedFileSystem()
    file = fs.create(_A)
    file.write(b"x")
    file.sync()
    assert None in contents(fs, _A)
    fs.sync_directory(Path("/"))
    assert all(fs_after.exists(_A) for fs_after in [fs.crash(seed) for seed in range(20)])


def test_operations_on_different_names_may_be_reordered() -> None:
    fs = SimulatedFileSystem()
    fs.create(_A).close()
    fs.create(_B).close()
    found = {tuple(name for name, _ in state.entries(Path("/"))) for state in fs.crash_states()}
    assert found == {(), ("a",), ("b",), ("a", "b")}


def test_a_rename_is_atomic() -> None:
    fs = SimulatedFileSystem()
    file = fs.create(_A)
    file.write(b"1")
    file.sync()
    fs.settle()
    fs.rename(_A, _B)
    found = {tuple(name for name, _ in state.entries(Path("/"))) for state in fs.crash_states()}
    assert found == {("a",), ("b",)}


def test_a_sync_after_a_failed_sync_saves_only_what_came_later() -> None:
    fs = SimulatedFileSystem()
    file = fs.create(_A)
    fs.sync_directory(Path("/"))
    file.write(b"1")
    fs.fail_at(fs.operation_count, OSError(errno.EIO, "injected"))
    with pytest.raises(OSError):
        file.sync()
    file.sync()
    after = {fs_after.read(_A) for fs_after in (SimulatedFileSystem.crash(fs, seed) for seed in range(40))}
    assert b"" in after, "the lost page stays lost although the second sync reported success"


def test_a_crash_is_repeatable_and_final() -> None:
    def crashed(seed: int) -> tuple[SimulatedFileSystem, list[tuple[str, int]]]:
        fs = SimulatedFileSystem()
        for number in range(12):
            file = fs.create(Path(f"/{number}"))
            file.write(bytes(number))
        return fs, fs.crash(seed).entries(Path("/"))

    assert crashed(1)[1] == crashed(1)[1]
    assert len({tuple(crashed(seed)[1]) for seed in range(10)}) > 5
    dead, _ = crashed(1)
    for call in (dead.read, dead.create, dead.exists, dead.entries, dead.free_bytes):
        with pytest.raises(OSError) as caught:
            call(Path("/1"))
        assert caught.value.errno == errno.EIO


def test_what_survived_one_crash_survives_the_next() -> None:
    fs = SimulatedFileSystem()
    for number in range(10):
        fs.create(Path(f"/{number}")).close()
    after = fs.crash(5)
    names = after.entries(Path("/"))
    assert after.crash(6).entries(Path("/")) == names


def test_a_full_disk_takes_what_fits() -> None:
    fs = SimulatedFileSystem(capacity_bytes=10)
    file = fs.create(_A)
    file.write(b"12345678")
    with pytest.raises(OSError) as caught:
        file.write(b"abcd")
    assert caught.value.errno == errno.ENOSPC
    assert fs.read(_A) == b"12345678ab"
    assert fs.free_bytes(_A) == 0
    fs.remove(_A)
    assert fs.free_bytes(_A) == fs.total_bytes(_A) == 10


def test_faults_hit_once_or_for_ever() -> None:
    fs = SimulatedFileSystem()
    fs.fail_at(1, OSError(errno.EIO, "once"))
    fs.fail_at(3, OSError(errno.ENOSPC, "for ever"), forever=True)

    def outcome(number: int) -> int:
        try:
            fs.create(Path(f"/{number}"))
        except OSError as error:
            return error.errno or -1
        return 0

    assert [outcome(number) for number in range(6)] == [
        0,
        errno.EIO,
        0,
        errno.ENOSPC,
        errno.ENOSPC,
        errno.ENOSPC,
    ]


def test_nothing_happens_after_a_power_cut() -> None:
    fs = SimulatedFileSystem()
    fs.fail_at(0, PowerCut())
    with pytest.raises(PowerCut):
        fs.create(_A)
    with pytest.raises(OSError):
        fs.create(_A)
    assert fs.crash(0).entries(Path("/")) == []


def test_too_many_states_are_refused_not_sampled() -> None:
    fs = SimulatedFileSystem()
    for number in range(13):
        fs.create(Path(f"/{number}")).close()
    with pytest.raises(InvalidInputError, match="crash states"):
        list(fs.crash_states())


def test_paths_are_absolute() -> None:
    with pytest.raises(InvalidInputError, match="absolute"):
        SimulatedFileSystem().read(Path("a"))
