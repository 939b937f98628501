"""Fleets of simulated boards: planned from a file and a seed, started in few processes, found again, asked, ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from edgeloop_foundation.errors import (
    AlreadyExistsError,
    CorruptDataError,
    EdgeloopError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from edgeloop_profiles import list_profiles, load_profile
from edgeloop_profiles.fault_script import check_script, load_faults
from edgeloop_profiles.fleet_file import (
    BoardGroup,
    BoardPlan,
    FleetFile,
    FleetPlan,
    draw_boards,
    load_fleet_file,
)
from edgeloop_protocol.convert import digest_of, from_json, to_canonical_json

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.fleet_hosts import HostProcesses, find_hosts, stop_hosts
from edgeloop.transport.base import connect
from edgeloop.transport.local import SOCKET_PATH_BYTES

__all__ = [
    "FleetRequest",
    "FleetStatus",
    "StartedFleet",
    "fleet_names",
    "fleet_status",
    "plan_fleet",
    "select_boards",
    "start_fleet",
    "stop_fleet",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_PLAN = "fleet.json"
_BOARDS_PER_PROCESS = 50
_ASKED_AT_ONCE = 64
_FAULT_LOG = "boards/*/state/faults.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRequest:
    """A fleet as it is asked for."""

    name: str = "sim"
    #: Boards in all; 0 is what the groups count.
    count: int = 0
    #: Fleet file, or profiles with shares, "raspberry_pi_4:3,nuc11:1"; empty is every shipped profile alike.
    mix: str = ""
    seed: int = 0
    #: Where the boards keep their state; None is below the controller's home.
    directory: Path | None = None
    #: Processes that share the boards; 0 follows their number and the processors.
    process_count: int = 0
    #: Fault script; it goes before the one that the fleet file names.
    faults: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """How a fleet is."""

    name: str
    seed: int
    board_count: int
    #: Directory of plan, logs and state.
    directory: str
    #: Number of each process; None where it does not run.
    processes: tuple[int | None, ...]
    #: Resident memory of all of them together; None when none runs.
    memory_bytes: int | None = None
    #: Boards that say that they serve; None when they were not asked.
    serving_count: int | None = None
    #: Health checks over the wire, all boards at once; None when no board answered.
    health_p50_s: float | None = None
    health_p99_s: float | None = None
    #: Boards that do not serve, with the reason, the first ten.
    failing: tuple[tuple[str, str], ...] = ()
    #: Faults that have happened, by kind.
    faults: tuple[tuple[str, int], ...] = ()

    @property
    def running(self) -> bool:
        """Return whether all of its processes run."""
        return all(pid is not None for pid in self.processes)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedFleet:
    """A fleet that is up."""

    plan: FleetPlan
    #: Its processes; None when the fleet ran before and is none of ours.
    hosts: HostProcesses | None


def plan_fleet(request: FleetRequest) -> FleetPlan:
    """Return the plan of a fleet, its boards still without sockets.

    Raises:
        InvalidInputError: name, mix, count and faults do not go together.
        NotFoundError: no such file or profile.
    """
    if not _NAME.fullmatch(request.name):
        raise InvalidInputError(
            f"the name of a fleet has up to 40 letters, digits, dots, - and _, found {request.name!r}."
        )
    fleet = _mix(request.mix)
    boards = draw_boards(fleet, request.count, request.seed)
    faults = str(request.faults.expanduser().absolute()) if request.faults else fleet.faults
    if faults:
        profiles = {name: load_profile(name) for name in {board.profile for board in boards}}
        known = [(board.name, profiles[board.profile], board.labels) for board in boards]
        check_script(load_faults(Path(faults)), known)
    content = Path(faults).read_text(encoding="utf-8") if faults else ""
    usable = len(os.sched_getaffinity(0))
    processes = request.process_count or max(1, min(usable, -(-len(boards) // _BOARDS_PER_PROCESS)))
    if processes > len(boards):
        raise InvalidInputError(
            f"--processes: found {processes} for {len(boards)} boards, allowed is one each."
        )
    return FleetPlan(
        name=request.name,
        seed=request.seed,
        boards=boards,
        process_count=processes,
        faults=faults,
        request_digest=digest_of([request.seed, content, *(repr(board) for board in boards)]),
    )


def _mix(text: str) -> FleetFile:
    if text.endswith(".toml") and ":" not in text:
        return load_fleet_file(Path(text).expanduser())
    words = [word.strip() for word in text.split(",") if word.strip()] or list(list_profiles())
    groups = []
    for word in words:
        profile, colon, share = word.partition(":")
        if colon and not re.fullmatch(r"\d+(\.\d+)?", share):
            raise InvalidInputError(
                f"--mix: found {word!r}, allowed is a fleet file.toml, or profiles with shares like "
                f"raspberry_pi_4:3,nuc11:1."
            )
        load_profile(profile)
        groups.append(BoardGroup(profile=profile, share=float(share or 1)))
    return FleetFile(boards=tuple(groups))


@contextmanager
def start_fleet(home: Path, request: FleetRequest, *, detached: bool) -> Iterator[StartedFleet]:
    """Start a fleet and yield its plan and processes; they are ended at the end unless detached.

    A fleet of this name that runs already and is the same one is yielded without processes, and left alone.

    Raises:
        AlreadyExistsError: another fleet of this name runs.
        EdgeloopError: the request cannot be used, or a process did not start.
    """
    plan = plan_fleet(request)
    directory = _directory(home, request)
    known = _read_plan(directory)
    if known is not None and any(find_hosts(directory, known.process_count)):
        yield StartedFleet(plan=_same(plan, known, directory), hosts=None)
        return
    if known is not None:
        # Left by a controller that was killed.
        _clear(known, home, request.name)
    plan = _prepare(home, plan, directory)
    hosts = HostProcesses(directory, directory / _PLAN, plan.process_count, detached=detached)
    ready = False
    try:
        hosts.wait_until_ready()
        ready = True
        yield StartedFleet(plan=plan, hosts=hosts)
    finally:
        if not (detached and ready):
            hosts.stop()
            _clear(plan, home, request.name)


def _same(plan: FleetPlan, known: FleetPlan, directory: Path) -> FleetPlan:
    if not all(find_hosts(directory, known.process_count)):
        raise UnavailableError(
            f"the fleet {plan.name} has lost a process, so that some of its boards are away.",
            next_step=f"End it and start it anew: edgeloop sim down {plan.name}",
        )
    if known.request_digest != plan.request_digest:
        raise AlreadyExistsError(
            f"a fleet {plan.name} of {len(known.boards)} boards, seed {known.seed}, runs already, and this is "
            f"another one ({len(plan.boards)} boards, seed {plan.seed}).",
            next_step=f"Use another --name, or end it: edgeloop sim down {plan.name}",
        )
    return known


def _directory(home: Path, request: FleetRequest) -> Path:
    link = home / "fleets" / request.name
    if request.directory is None:
        return link.resolve()
    wanted = request.directory.expanduser().resolve()
    if link.exists() and link.resolve() != wanted:
        raise AlreadyExistsError(
            f"the fleet {request.name} keeps its state in {link.resolve()}, not in {wanted}.",
            next_step="Use another --name.",
        )
    return wanted


def _prepare(home: Path, plan: FleetPlan, directory: Path) -> FleetPlan:
    """Make directories, give every board its socket, and write the plan before anything starts."""
    link = home / "fleets" / plan.name
    link.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(directory)
    sockets = directory / "sockets"
    longest = max(len(os.fsencode(board.name)) for board in plan.boards) + len("/.sock~")
    made = ""
    if len(os.fsencode(sockets)) + longest > SOCKET_PATH_BYTES:
        made = tempfile.mkdtemp(prefix="edgeloop-")
        sockets = Path(made)
    sockets.mkdir(mode=0o700, exist_ok=True)
    boards = tuple(replace(board, socket=str(sockets / f"{board.name}.sock")) for board in plan.boards)
    plan = replace(plan, boards=boards, socket_directory=made)
    temporary = directory / f"{_PLAN}.tmp"
    temporary.write_bytes(to_canonical_json(plan))
    temporary.replace(directory / _PLAN)
    return plan


def _clear(plan: FleetPlan, home: Path, name: str) -> None:
    """Take away what only a running fleet needs; the boards' state stays for the next start."""
    if plan.socket_directory:
        shutil.rmtree(plan.socket_directory, ignore_errors=True)
    link = home / "fleets" / name
    (link / _PLAN).unlink(missing_ok=True)
    if link.is_symlink():
        link.unlink()


def _read_plan(directory: Path) -> FleetPlan | None:
    try:
        return from_json((directory / _PLAN).read_bytes(), FleetPlan)
    except FileNotFoundError:
        return None
    except InvalidInputError as error:
        raise CorruptDataError(
            f"{directory / _PLAN} cannot be read: {error.message}", next_step="Remove the file."
        ) from error


def fleet_names(home: Path) -> tuple[str, ...]:
    """Return the names of the fleets below a controller's home that were started and not ended."""
    root = home / "fleets"
    return tuple(sorted(path.name for path in root.glob("*") if (path / _PLAN).is_file()))


def _known(home: Path, name: str) -> tuple[Path, FleetPlan]:
    directory = (home / "fleets" / name).resolve()
    plan = _read_plan(directory) if _NAME.fullmatch(name) else None
    if plan is None:
        names = ", ".join(fleet_names(home)) or "none"
        raise NotFoundError(
            f"no fleet {name!r} was started; known are {names}.",
            next_step=f"Start it: edgeloop sim up --name {name} --count 10",
        )
    return directory, plan


def stop_fleet(home: Path, name: str) -> int:
    """End a fleet and return how many processes were ended; nothing of it runs afterwards.

    Raises:
        NotFoundError: no such fleet.
        DeadlineError: a process cannot be ended.
    """
    directory, plan = _known(home, name)
    stopped = stop_hosts(directory, plan.process_count)
    _clear(plan, home, name)
    return stopped


def select_boards(home: Path, word: str) -> tuple[DeviceSpec, ...]:
    """Return the boards that ``fleet:NAME``, ``fleet:NAME/WHAT`` or ``own=fleet:NAME/WHAT`` stands for.

    ``WHAT`` is a board's name or a pattern of such names, a profile, or a label.

    Raises:
        NotFoundError: no such fleet, or none of its boards fits.
        InvalidInputError: one name of one's own for several boards.
    """
    own, _, body = word.rpartition("=")
    name, slash, what = body.removeprefix("fleet:").partition("/")
    _, plan = _known(home, name)
    chosen = [board for board in plan.boards if not slash or _fits(board, what)]
    if not chosen:
        raise NotFoundError(
            f"no board of the fleet {name} is called, or is of profile or label, {what!r}.",
            next_step=f"The first of its {len(plan.boards)} is {plan.boards[0].name}; see edgeloop sim status {name}.",
        )
    if own and len(chosen) > 1:
        raise InvalidInputError(f"{word!r} gives one name to {len(chosen)} boards.")
    return tuple(
        DeviceSpec(name=own or board.name, transport="fleet", address=board.socket) for board in chosen
    )


def _fits(board: BoardPlan, what: str) -> bool:
    return fnmatchcase(board.name, what) or what in (board.profile, Path(board.profile).stem, *board.labels)


async def fleet_status(home: Path, name: str, *, asking: bool = True) -> FleetStatus:
    """Return how a fleet is; with ``asking``, after a health check of every board over the wire.

    Raises:
        NotFoundError: no such fleet.
    """
    directory, plan = _known(home, name)
    processes = find_hosts(directory, plan.process_count)
    status = FleetStatus(
        name=plan.name,
        seed=plan.seed,
        board_count=len(plan.boards),
        directory=str(directory),
        processes=processes,
        memory_bytes=sum(_memory_bytes(pid) for pid in processes if pid) or None,
        faults=_faults(directory),
    )
    if not asking or not any(processes):
        return status
    specs = [DeviceSpec(name=b.name, transport="fleet", address=b.socket) for b in plan.boards]
    answers = await _ask(home, specs)
    times = sorted(answer for answer in answers if isinstance(answer, float))
    failing = [(s.name, str(a)) for s, a in zip(specs, answers, strict=True) if not isinstance(a, float)]
    return replace(
        status,
        serving_count=len(times),
        health_p50_s=times[(len(times) - 1) // 2] if times else None,
        health_p99_s=times[-1 - len(times) // 100] if times else None,
        failing=tuple(failing[:10]),
    )


async def _ask(home: Path, specs: Sequence[DeviceSpec]) -> list[float | EdgeloopError]:
    limit = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(spec: DeviceSpec) -> float | EdgeloopError:
        async with limit:
            try:
                async with connect(spec, home) as client:
                    begin = time.monotonic()
                    serving = await client.health()
                    took_s = time.monotonic() - begin
            except EdgeloopError as error:
                return error
        return took_s if serving else UnavailableError(f"{spec.name} says that it does not serve.")

    return await asyncio.gather(*(ask(spec) for spec in specs))


def _memory_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _faults(directory: Path) -> tuple[tuple[str, int], ...]:
    kinds: dict[str, int] = {}
    for path in directory.glob(_FAULT_LOG):
        for line in path.read_text(encoding="utf-8").splitlines():
            kind = str(json.loads(line)["kind"])
            kinds[kind] = kinds.get(kind, 0) + 1
    return tuple(sorted(kinds.items()))
