"""Entry of a serving process: one frame says what to serve, and its events go back as frames.

It confines itself as a runner does, but for the listeners that it opens on the way, and for no death with its agent:
it ends when its standard input does, with its agent that is, and requests under way are answered first.

Exit status: 0 stopped as asked, 1 it failed, 2 it cannot serve what it was asked for.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.isolation_tier import DEFAULT, TIERS
from edgeloop_protocol.types.serving import ServingSpec

from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame, take_streams
from edgeloop_agent.runner.limits import FILE_BYTES, Entry, Limits
from edgeloop_agent.runner.sandbox.enter import Bounds, add_enclosure_options
from edgeloop_agent.served_bounds import readable_of, writable_of
from edgeloop_agent.serving.request_log import RequestLog
from edgeloop_agent.telemetry.request_log import DIRECTORY as LOG_DIRECTORY

_SWITCH_S = 0.5e-3
# Connections of both listeners, and files beside them.
_OPEN_FILES = 1024
# Longer than requests under way are waited for.
_ENDS_S = 20


def main() -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="edgeloop_agent.serving", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="the agent's state directory")
    parser.add_argument("--isolation", choices=TIERS, default=DEFAULT, help="strongest tier to take")
    parser.add_argument("--parent-pid", type=int, default=0, help="a process that has to be out of reach")
    parser.add_argument("--task-count", type=int, default=0, help="limit of threads and processes")
    add_enclosure_options(parser)
    arguments = parser.parse_args()
    os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # A thread whose run ended waits so long for one that encodes; the default of 5 ms is longer than many models run.
    sys.setswitchinterval(_SWITCH_S)
    source, sink = take_streams()
    lock = threading.Lock()

    def tell(event: dict[str, Any]) -> None:
        with lock:
            sink.write(encode_frame(event))
            sink.flush()

    try:
        header = _read(source)
        if header is None:
            return 0
        spec = from_json(header.get("spec"), ServingSpec)
        log = RequestLog(arguments.state / LOG_DIRECTORY, spec.name, spec.request_log_bytes)
        entry = Entry(_limits(arguments, spec), _bounds(arguments, spec))
        entry.begin()
        # Imported now: the threads that come with it are to be inside.
        from edgeloop_agent.serving.process import Ways, serve

        serve(arguments.state, spec, log, Ways(ask=lambda: _read(source), tell=tell, close=entry.close))
    except BrokenPipeError:
        return 1
    except EdgeloopError as error:
        tell({"event": "refused", "reason": str(error)})
        return 2
    return 0


def _limits(arguments: argparse.Namespace, spec: ServingSpec) -> Limits:
    """Return the limits; memory and time are those of the versions that it opens, which others look after."""
    return Limits(
        task_count=arguments.task_count,
        file_bytes=max(FILE_BYTES, spec.request_log_bytes),
        open_files=_OPEN_FILES,
    )


def _bounds(arguments: argparse.Namespace, spec: ServingSpec) -> Bounds:
    state = arguments.state
    return Bounds(
        tier=arguments.isolation,
        readable=readable_of(spec, state),
        outside=state,
        parent_pid=arguments.parent_pid,
        writable=writable_of(spec, state),
        listens=True,
        enclosed=arguments.enclosed,
        outer_namespaces=arguments.outer_namespaces,
        lacking=arguments.lacking,
    )


def _read(source: BinaryIO) -> dict[str, Any] | None:
    prefix = source.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        # A model that hangs must not outlive the agent.
        signal.alarm(_ENDS_S)
        return None
    header_bytes, _ = decode_prefix(prefix)
    return decode_header(source.read(header_bytes))


if __name__ == "__main__":
    raise SystemExit(main())
