"""One question to a program that the daemon starts by exec and never imports, and its one answer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any

from edgeloop_foundation import errors as e
from edgeloop_foundation.ports.process import ChildProcess, ProcessPort
from edgeloop_foundation.within import within

from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame

__all__ = ["ask_program"]

# It starts Python and loads a library; slow boards take seconds.
_ANSWER_S = 60.0


async def ask_program(
    processes: ProcessPort, module: str, arguments: tuple[str, ...], header: Mapping[str, Any]
) -> dict[str, Any]:
    """Start ``python -I -m MODULE ARGUMENTS``, hand it one frame, and return its answer.

    Raises:
        EdgeloopError: what the program raised, or InternalError when it did not answer.
    """
    frame = encode_frame(header)
    # Paths alone: what the daemon was started with is none of its business.
    environment = {"PATH": os.environ.get("PATH", os.defpath)}
    child = await processes.spawn((sys.executable, "-I", "-m", module, *arguments), environment)
    try:
        reply = await within(_exchange(child, frame), _ANSWER_S)
    except (EOFError, ConnectionError, asyncio.TimeoutError, e.CorruptDataError) as error:
        raise e.InternalError(
            f"{module} failed with {type(error).__name__}: {child.log_tail()[-500:].strip()}"
        ) from error
    finally:
        child.kill()
        await child.wait()
    if reply.get("ok") is not True:
        raise _error_of(reply)
    return reply


async def _exchange(child: ChildProcess, frame: bytes) -> dict[str, Any]:
    await child.write(frame)
    header_bytes, _ = decode_prefix(await child.read_exactly(PREFIX.size))
    return decode_header(await child.read_exactly(header_bytes))


def _error_of(reply: Mapping[str, Any]) -> e.EdgeloopError:
    kind = str(reply.get("kind", ""))
    cls = getattr(e, kind) if kind in e.__all__ else e.InternalError
    error: e.EdgeloopError = cls(str(reply.get("message", "")), next_step=str(reply.get("next_step", "")))
    return error
