"""``python -I -m edgeloop_agent.trust --state DIRECTORY``: answers one frame of the daemon with one frame."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import (
    EdgeloopError,
    InternalError,
    InvalidInputError,
    MissingDependencyError,
    StateError,
)
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.deployment import ReleaseBundle, check_deployment_name

from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame
from edgeloop_agent.trust_files import DIRECTORY, TrustFiles


def _verifier() -> Any:
    try:
        from edgeloop_agent.trust import verify
    except ImportError as error:
        raise MissingDependencyError(
            f"releases are verified with the packages tuf and cryptography ({error}).",
            next_step="Install edgeloop[trust] on the device.",
        ) from error
    return verify


def _pin(files: TrustFiles, root: str) -> dict[str, Any]:
    state = _verifier().pin(root)
    known = files.read()
    if known is None:
        files.write(state)
        return {"pinned_now": True}
    if known.metadata.root == root or state.floor.root_version <= known.floor.root_version:
        return {"pinned_now": False}
    raise StateError(
        "this device has a root of trust already.",
        next_step="A newer root comes with a bundle, signed by the old keys.",
    )


def _accept(files: TrustFiles, header: dict[str, Any], now_s: float) -> dict[str, Any]:
    state = files.read()
    if state is None:
        raise StateError("this device trusts no release key yet.", next_step="Pin the root first.")
    bundle = from_json(header.get("bundle"), ReleaseBundle)
    name = check_deployment_name(str(header.get("name", "")))
    verified = _verifier().verify(state, bundle, name, now_s)
    files.write(verified.state)
    return {"digest": verified.digest, "size_bytes": verified.size_bytes, "terms": to_json(verified.terms)}


def _perform(files: TrustFiles, header: dict[str, Any], now_s: float) -> dict[str, Any]:
    if header.get("command") == "pin":
        return _pin(files, str(header.get("root", "")))
    if header.get("command") == "accept":
        return _accept(files, header, now_s)
    raise InvalidInputError(f"unknown command {header.get('command')!r}.")


def answer(files: TrustFiles, read_header: Callable[[], dict[str, Any]], now_s: float) -> dict[str, Any]:
    """Return the answer to one request; an error travels by its name, so that it stays that error.

    Args:
        files: the trust state.
        read_header: reads the request.
        now_s: the device's clock, seconds since 1970.
    """
    try:
        return {"ok": True, **_perform(files, read_header(), now_s)}
    except (EdgeloopError, OSError) as error:
        failed = error if isinstance(error, EdgeloopError) else InternalError(str(error))
        kind = type(failed).__name__
        return {"ok": False, "kind": kind, "message": failed.message, "next_step": failed.next_step}


def read_header() -> dict[str, Any]:
    """Read the header of the one frame on standard input."""
    header_bytes, _ = decode_prefix(sys.stdin.buffer.read(PREFIX.size))
    return decode_header(sys.stdin.buffer.read(header_bytes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one request and return the exit status."""
    parser = argparse.ArgumentParser(prog="edgeloop-agent trust", description="Verify one release.")
    parser.add_argument("--state", type=Path, required=True, help="the agent's state directory")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    files = TrustFiles(OsFileSystem(), options.state / DIRECTORY)
    sys.stdout.buffer.write(encode_frame(answer(files, read_header, time.time())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
