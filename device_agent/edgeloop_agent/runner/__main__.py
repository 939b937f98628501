"""Entry of the runner process: frames on standard input and output, prints go to standard error."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from edgeloop_protocol.types.isolation_tier import DEFAULT, TIERS
from edgeloop_protocol.types.outcome import FailureKind, Outcome

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame, take_streams
from edgeloop_agent.isolation_policy import check_isolation
from edgeloop_agent.runner.limits import Limits, enter
from edgeloop_agent.runner.memory import ProcessMemory
from edgeloop_agent.runner.own_limits import read_own_limits
from edgeloop_agent.runner.sandbox.enter import Bounds, add_enclosure_options
from edgeloop_agent.runner.worker import Worker, describe_runtimes


def main() -> int:
    """Answer commands until ``close`` or the end of input."""
    parser = argparse.ArgumentParser(prog="edgeloop_agent.runner", description=__doc__)
    parser.add_argument(
        "--describe", action="store_true", help="print the runtimes as one line of JSON and leave"
    )
    parser.add_argument("--memory-bytes", type=int, default=0, help="limit of the address space")
    parser.add_argument("--cpu-s", type=int, default=0, help="limit of processor time")
    parser.add_argument("--task-count", type=int, default=0, help="limit of threads and processes")
    parser.add_argument("--parent-pid", type=int, default=0, help="process to die with")
    parser.add_argument(
        "--emulated", action="store_true", help="read its own limits back when a model is opened"
    )
    parser.add_argument("--isolation", choices=TIERS, default=DEFAULT, help="strongest tier to take")
    parser.add_argument(
        "--require-isolation", choices=TIERS, default=TIERS[0], help="weakest tier that will do"
    )
    parser.add_argument("--readable", type=Path, action="append", default=[], help="a directory to read")
    parser.add_argument("--outside", type=Path, help="a directory that has to be out of reach")
    add_enclosure_options(parser)
    arguments = parser.parse_args()
    os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    limits = Limits(
        memory_bytes=arguments.memory_bytes,
        cpu_s=arguments.cpu_s,
        parent_pid=os.getppid() if arguments.enclosed else arguments.parent_pid,
        task_count=arguments.task_count,
    )
    bounds = Bounds(
        tier=arguments.isolation,
        readable=tuple(arguments.readable),
        outside=arguments.outside,
        parent_pid=arguments.parent_pid,
        enclosed=arguments.enclosed,
        outer_namespaces=arguments.outer_namespaces,
        lacking=arguments.lacking,
    )
    if arguments.describe:
        check_isolation(enter(limits, bounds), arguments.require_isolation)
        sys.stdout.write(json.dumps(describe_runtimes()) + "\n")
        return 0
    source, sink = take_streams()
    memory = ProcessMemory()
    isolation = enter(limits, bounds)
    worker = Worker(isolation, memory, read_own_limits() if arguments.emulated else None)
    worker.require(arguments.require_isolation)
    _serve(worker, source, sink)
    return 0


def _serve(worker: Worker, source: BinaryIO, sink: BinaryIO) -> None:
    while (header := _read(source)) is not None and header.get("command") != "close":
        sink.write(_answer(worker, header))
        sink.flush()
    if header is not None:
        sink.write(encode_frame({"ok": True}))
        sink.flush()


def _read(source: BinaryIO) -> dict[str, Any] | None:
    prefix = source.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    header_bytes, payload_bytes = decode_prefix(prefix)
    header = decode_header(source.read(header_bytes))
    source.read(payload_bytes)
    return header


def _answer(worker: Worker, header: dict[str, Any]) -> bytes:
    try:
        reply, payload = worker.answer(header)
        return encode_frame({"ok": True, **reply}, payload)
    except RunnerFailure as failure:
        return _refusal(failure)
    except MemoryError as error:
        reason = f"the runner needs more memory than it may use: {error}"
        return _refusal(RunnerFailure(Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY, reason))
    except Exception as error:
        traceback.print_exc()
        reason = f"{header.get('command')} failed in the runner: {type(error).__name__}: {error}"
        return _refusal(RunnerFailure(Outcome.HARNESS_ERROR, FailureKind.RUNNER_CRASHED, reason))


def _refusal(failure: RunnerFailure) -> bytes:
    return encode_frame(
        {
            "ok": False,
            "outcome": failure.outcome.value,
            "failure_kind": failure.failure_kind.value,
            "reason": failure.reason[:2000],
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
