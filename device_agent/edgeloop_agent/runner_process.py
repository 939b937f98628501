"""One runner process as the agent holds it: frames in and out, and an autopsy when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_foundation.ports.process import ChildProcess
from edgeloop_foundation.within import within
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.emulation import EmulationReading
from edgeloop_protocol.types.run import FailureKind, Isolation, Outcome

from edgeloop_agent.containment import Containment
from edgeloop_agent.enclosure import innermost, status_within
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.memory_group import MemoryGroup, NoGroup
from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame

if TYPE_CHECKING:
    from edgeloop_agent.emulate.group import RunnerGroup

__all__ = ["Reply", "RunnerProcess", "autopsy", "oom_kill_count", "remove_scratch"]

_log = logging.getLogger(__name__)

_BURIAL_S = 5.0
_REASON_CHARACTERS = 1000
_LACK_OF_MEMORY = re.compile(r"bad_alloc|MemoryError|Cannot allocate memory|out of memory", re.I)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one command."""

    #: The header's fields.
    header: dict[str, Any]
    #: Raw bytes; empty for most commands.
    payload: bytes = b""


class RunnerProcess:
    """A runner on a child process; whatever it sends is hostile until checked."""

    def __init__(
        self,
        child: ChildProcess,
        fs: FileSystem,
        scratch: Path,
        root: Path,
        oom_kills: int | None,
        group: MemoryGroup | NoGroup | None = None,
        containment: Containment | None = None,
        enclosed: bool = False,
    ) -> None:
        self._enclosed, self._pid = enclosed, child.pid
        self._group = group
        self._containment = containment
        self._introduced = False
        self.isolation = Isolation(tier="process", reason="the runner did not say what keeps it in")
        self._child = child
        self._fs = fs
        self._scratch = scratch
        self._root = root
        self._oom_kills = oom_kills
        self._share: RunnerGroup | None = None
        self._disagreement: Callable[[EmulationReading], str] | None = None

    @property
    def pid(self) -> int | None:
        """Process identifier; that of the helper program, where there is one, until the runner has told of itself."""
        return self._pid

    def hold(self, share: RunnerGroup, disagreement: Callable[[EmulationReading], str]) -> None:
        """Take over the groups that limit it, and check what it reads of them when it opens a model."""
        self._share, self._disagreement = share, disagreement

    async def request(self, command: str, arguments: Mapping[str, object], timeout_s: float) -> Reply:
        """Send one command and return its answer; a runner that is late is killed on the spot."""
        frame = encode_frame({"command": command, **arguments})
        try:
            reply = await within(self._converse(command, frame), max(timeout_s, 0.0))
        except asyncio.TimeoutError as error:
            self._child.kill()
            reason = f"{command} was not answered within {timeout_s:.1f} s; the runner was killed."
            raise RunnerFailure(Outcome.TIMEOUT, FailureKind.DEADLINE, reason) from error
        except (EOFError, ConnectionError) as error:
            raise await self._bury(command) from error
        except CorruptDataError as error:
            self._child.kill()
            raise _nonsense(command, str(error)) from error
        if reply.header.get("ok") is not True:
            raise _refusal(command, reply.header)
        if command == "open":
            self._check_limits(reply.header)
        if command == "memory" and self._group is not None:
            # Ours, not the runner's: it is read from outside.
            reply.header.update(self._group.as_header())
        return reply

    async def _converse(self, command: str, frame: bytes) -> Reply:
        """Ask what keeps it in before a model is opened: nothing that comes later can be believed."""
        if command == "open" and not self._introduced:
            reply = await self._exchange(encode_frame({"command": "isolation"}))
            if reply.header.get("ok") is not True:
                return reply
            self._introduced = True
            self._note_isolation(reply.header)
            if self._enclosed:
                self._pid = await asyncio.to_thread(innermost, self._root, self._child.pid)
                if self._group is not None:
                    self._group.take(self._pid)
            self._contain()
        return await self._exchange(frame)

    def _contain(self) -> None:
        if self._containment is None:
            return
        try:
            self.isolation = self._containment.admit(self.isolation, self._pid)
        except RunnerFailure:
            self._child.kill()
            raise
        self._containment.watch(self._pid, self._child.kill)

    async def _exchange(self, frame: bytes) -> Reply:
        await self._child.write(frame)
        header_bytes, payload_bytes = decode_prefix(await self._child.read_exactly(PREFIX.size))
        header = decode_header(await self._child.read_exactly(header_bytes))
        return Reply(header, await self._child.read_exactly(payload_bytes) if payload_bytes else b"")

    def _note_isolation(self, header: dict[str, Any]) -> None:
        if "isolation" in header:
            with contextlib.suppress(InvalidInputError):
                self.isolation = from_json(header["isolation"], Isolation)

    def _check_limits(self, header: dict[str, Any]) -> None:
        """Refuse a runner that is not held in what was asked: its figures would pass for what they are not."""
        if self._disagreement is None:
            return
        try:
            told = self._disagreement(from_json(header.get("own_limits"), EmulationReading))
        except InvalidInputError as error:
            told = str(error)
        if told:
            self._child.kill()
            reason = f"the runner is not held in the emulated resources: {told}."
            raise RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.UNFIT_DEVICE, reason)

    async def _bury(self, command: str) -> RunnerFailure:
        status = await self._end()
        if self._containment is not None and self._containment.passed:
            return _out_of_memory(f"{command}: {self._containment.passed}")
        now = oom_kill_count(self._root)
        known = now is not None and self._oom_kills is not None
        oom = now != self._oom_kills if known else None
        if self._share is not None and (killed := self._share.oom_kill_count()) is not None:
            oom = killed > 0
        return autopsy(status, self.log_tail(), oom, command)

    async def _end(self) -> int | None:
        """Wait for the process, which may linger after closing its output; kill it then."""
        with contextlib.suppress(asyncio.TimeoutError):
            status = await within(self._child.wait(), 0.5)
            return status_within(status) if self._enclosed else status
        self._child.kill()
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._child.wait(), _BURIAL_S)
        return None

    def log_tail(self) -> str:
        """Return the last lines that it wrote to standard error."""
        return self._child.log_tail()

    async def close(self) -> None:
        """Kill the process group, wait for its end and remove the scratch directory."""
        self._child.kill()
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._child.wait(), _BURIAL_S)
        if self._containment is not None:
            await self._containment.remove()
        group, self._group = self._group, None
        if group is not None:
            group.remove()
        share, self._share = self._share, None
        if share is not None:
            share.remove()
        await remove_scratch(self._fs, self._scratch)


async def remove_scratch(fs: FileSystem, directory: Path) -> None:
    """Remove what a runner wrote; what cannot be removed stays until the agent's next start."""
    try:
        # In a thread: a hostile runner may have left a great many files.
        await asyncio.to_thread(fs.remove_tree, directory)
    except OSError as error:
        _log.warning("a scratch directory stays: %s", error)


def autopsy(status: int | None, log: str, oom: bool | None, command: str) -> RunnerFailure:
    """Return what the death of a runner means.

    Args:
        status: exit status, minus the signal's number if a signal ended it; None when it closed its output
        and
            lived on.
        log: its last lines.
        oom: whether the kernel killed for lack of memory meanwhile; None when it does not say.
        command: what it was doing.
    """
    if status is None:
        return _crash(f"the runner closed its output during {command} and did not end by itself.")
    if status == -signal.SIGXCPU:
        reason = f"the runner used up its processor time during {command} (SIGXCPU)."
        return RunnerFailure(Outcome.TIMEOUT, FailureKind.DEADLINE, reason)
    if _LACK_OF_MEMORY.search(log):
        return _out_of_memory(f"the runner ran out of memory during {command} ({_how(status)}).")
    if status == -signal.SIGKILL and oom is not False:
        certainty = "" if oom else ", most likely"
        return _out_of_memory(f"the kernel killed the runner during {command}{certainty} for lack of memory.")
    return _crash(f"the runner died during {command} ({_how(status)}).")


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _crash(reason: str) -> RunnerFailure:
    return RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED, reason)


def _out_of_memory(reason: str) -> RunnerFailure:
    return RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY, reason)


def _nonsense(command: str, what: str) -> RunnerFailure:
    return RunnerFailure(
        Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, f"the answer to {command} is no answer: {what}"
    )


def _refusal(command: str, header: dict[str, Any]) -> RunnerFailure:
    try:
        outcome, kind = Outcome(header.get("outcome")), FailureKind(header.get("failure_kind"))
    except ValueError as error:
        return _nonsense(command, str(error))
    if outcome is Outcome.SUCCESS or kind is FailureKind.NONE:
        return _nonsense(command, "a failure that names no failure")
    text = str(header.get("reason", ""))[:_REASON_CHARACTERS]
    reason = "".join(character if character.isprintable() else " " for character in text)
    return RunnerFailure(outcome, kind, reason or f"{command} failed without a reason.")


def oom_kill_count(root: Path) -> int | None:
    """Return how many processes the kernel has killed for lack of memory; None when it does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None
