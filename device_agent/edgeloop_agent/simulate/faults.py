"""The faults of one simulated board at work: what it goes through is counted, what is due is done, and noted."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from edgeloop_profiles.fault_script import Fault

from edgeloop_agent.simulate.fault_disk import FaultDisk
from edgeloop_agent.simulate.fault_relay import FaultRelay
from edgeloop_agent.simulate.fault_schedule import FaultSchedule, Happening
from edgeloop_agent.simulate.stress import Stress

__all__ = ["POWER_KINDS", "BoardFaults"]

POWER_KINDS = ("power_loss", "reboot", "crash")
"""Faults after which the agent starts anew."""

# What comes by the clock of the wall would put faults in another place at every replay.
_UNCOUNTED = ("/grpc.health.", "/grpc.reflection.", "/edgeloop.v1.LeaseService/Renew")

_log = logging.getLogger(__name__)


class BoardFaults:
    """Disk, wire and stress of one board, and the schedule that disturbs them.

    Args:
        faults: of this board.
        log_path: one JSON line for every fault that happened, in order; equal for equal seeds.
        relay: builds the wire, given what is to be told of bytes.
        restart: called on the loop with a fault of ``POWER_KINDS``.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        *,
        log_path: Path,
        relay: Callable[[Callable[[int], float]], FaultRelay],
        restart: Callable[[Fault], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._schedule = FaultSchedule(faults)
        self._log_path, self._restart, self._loop = log_path, restart, loop
        self._lock = threading.Lock()
        self._earlier_boots_s = 0.0
        self._now_s = 0.0
        self._armed = False
        self.stress = Stress()
        self.disk = FaultDisk(self._written)
        self.relay = relay(lambda size: self._count("after_bytes", size))
        log_path.unlink(missing_ok=True)

    def interceptor(self) -> _RequestCounter:
        """Return what counts the requests of one agent."""
        return _RequestCounter(self._request)

    def pass_time(self, now_ns: int) -> None:
        """Note the job time of the board since it was started."""
        self._now_s = now_ns / 1e9
        if self._schedule.timed:
            total_s = self._earlier_boots_s + self._now_s
            with self._lock:
                due = self._schedule.pass_time(total_s)
            self._schedule.settle(self.stress, total_s)
            self._act(due)

    def arm(self) -> None:
        """Begin to count: the board serves for the first time."""
        self._armed = True

    def begin_boot(self) -> None:
        """Go on where the job time of the last start ended; a new one begins at 0."""
        self._earlier_boots_s, self._now_s = self._earlier_boots_s + self._now_s, 0.0
        self.disk.thaw()

    def _written(self) -> None:
        self._count("after_writes", 1)

    def _request(self, method: str) -> float:
        return self._count("after_requests", 1, method)

    def _count(self, trigger: str, amount: int, method: str = "") -> float:
        with self._lock:
            due = self._schedule.count(trigger, amount, method) if self._armed else ()
        return self._act(due)

    def _act(self, due: Sequence[Happening]) -> float:
        """Do what is due, from any thread, and return seconds to hold up what set it off."""
        hold_s = 0.0
        for happening in due:
            self._note(happening)
            rule = happening.fault.rule
            if rule.kind == "delay":
                hold_s += rule.delay_s
            elif rule.kind == "disk_full":
                self.disk.fill(rule.for_s)
            elif rule.kind == "corrupt":
                self.relay.corrupt_next()
            elif rule.kind == "drop":
                self._loop.call_soon_threadsafe(self.relay.cut)
            elif rule.kind in POWER_KINDS:
                self._go_down(happening.fault)
        return hold_s

    def _go_down(self, fault: Fault) -> None:
        if fault.rule.kind != "reboot":
            # Nothing gets out and nothing is kept from here on; a reboot ends in good order instead.
            self.disk.freeze()
            self._loop.call_soon_threadsafe(self.relay.cut)
        self._loop.call_soon_threadsafe(self._restart, fault)

    def _note(self, happening: Happening) -> None:
        rule = happening.fault.rule
        line = {
            "fault": happening.fault.index,
            "kind": rule.kind,
            "trigger": rule.trigger,
            "place": happening.place,
            "number": happening.number,
        }
        _log.info("fault: %s at %s %g", rule.kind, rule.trigger, happening.place)
        # Not on the board's own disk: what is noted here outlives it.
        with self._log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class _RequestCounter(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # not generic when it runs
    """Stands before every call of one agent."""

    def __init__(self, on_request: Callable[[str], float]) -> None:
        self._on_request = on_request

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Count the call, hold it up if that is due, and pass it on."""
        path = handler_call_details.method
        if not path.startswith(_UNCOUNTED):
            await asyncio.sleep(self._on_request(path.rpartition("/")[2]))
        return await continuation(handler_call_details)
