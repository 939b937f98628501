"""``python -I -m edgeloop_agent.enrol``: request, install and join for people, answer for the daemon.

Exit status: 0 done, 1 refused or failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, MissingDependencyError
from edgeloop_protocol.convert.json import from_json
from edgeloop_protocol.types.identity import Enrolment, Identity, Role, SignedTrust

from edgeloop_agent.frames import PREFIX, decode_header, decode_prefix, encode_frame

_EXIT_FAILED = 1
_EXIT_USAGE = 2
_INPUT_BYTES_MAX = 4 << 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgeloop-agent enrol", description="Enrol this device in a fleet.")
    commands = parser.add_subparsers(dest="command", required=True)
    request = commands.add_parser("request", help="make a key and print the request for its certificate")
    install = commands.add_parser("install", help="read the authority's answer (JSON) and install it")
    join = commands.add_parser("join", help="enrol over the network with a join token")
    answer = commands.add_parser("answer", help="answer one request of the daemon")
    for command in (request, install, join, answer):
        command.add_argument("--state", type=Path, required=True, help="the agent's state directory")
    for command in (request, install):
        command.add_argument("--identity", required=True, help="spiffe://FLEET/device/NAME")
    join.add_argument("--controller", required=True, metavar="HOST:PORT", help="where the controller waits")
    join.add_argument(
        "--token-file", type=Path, required=True, help="file with the token; - reads standard input"
    )
    return parser


def _steps(state: Path) -> Any:
    try:
        from edgeloop_agent.enrol.steps import Steps
    except ImportError as error:
        raise MissingDependencyError(
            f"enrolment needs the package cryptography ({error}).",
            next_step="Install edgeloop[identity] on the device.",
        ) from error
    return Steps(state)


def _device(text: str) -> Identity:
    identity = Identity.parse(text)
    if identity.role is not Role.DEVICE:
        raise InvalidInputError(f"{text} is not the identity of a device.")
    return identity


def _input() -> bytes:
    data = sys.stdin.buffer.read(_INPUT_BYTES_MAX + 1)
    if len(data) > _INPUT_BYTES_MAX:
        raise InvalidInputError(f"the input is longer than {_INPUT_BYTES_MAX} bytes.")
    return data


def _perform(header: dict[str, Any], steps: Any) -> dict[str, Any]:
    command = header.get("command")
    if command == "renew":
        return {"request_pem": steps.renew()}
    if command == "install":
        steps.install(str(header.get("chain_pem", "")))
        return {}
    if command == "trust":
        steps.update_trust(from_json(header.get("trust"), SignedTrust))
        return {}
    if command == "sign":
        return {"signature": steps.sign_statement(str(header.get("statement", "")))}
    raise InvalidInputError(f"unknown command {command!r}.")


def _answer(state: Path) -> None:
    """Answer one frame with one frame; an error travels by its name, so that it stays that error."""
    stream = sys.stdin.buffer
    header_bytes, _ = decode_prefix(stream.read(PREFIX.size))
    try:
        reply = {"ok": True, **_perform(decode_header(stream.read(header_bytes)), _steps(state))}
    except EdgeloopError as error:
        kind = type(error).__name__
        reply = {"ok": False, "kind": kind, "message": error.message, "next_step": error.next_step}
    sys.stdout.buffer.write(encode_frame(reply))


def _join(options: argparse.Namespace) -> None:
    from edgeloop_agent.enrol.join import join

    source = options.token_file
    token = _input().decode("ascii", "replace") if str(source) == "-" else source.read_text(errors="replace")
    identity = join(_steps(options.state), options.controller, token.strip())
    sys.stdout.write(f"enrolled as {identity.uri}\n")


def _run(options: argparse.Namespace) -> None:
    if options.command == "answer":
        _answer(options.state)
    elif options.command == "request":
        sys.stdout.write(_steps(options.state).request(_device(options.identity)))
    elif options.command == "install":
        identity = _device(options.identity)
        _steps(options.state).enrol(identity, from_json(_input(), Enrolment))
        sys.stdout.write(f"enrolled as {identity.uri}\n")
    else:
        _join(options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one step and return the exit status."""
    options = _parser().parse_args(arguments)
    os.umask(0o077)
    try:
        _run(options)
    except InvalidInputError as error:
        sys.stderr.write(f"edgeloop-agent enrol: {error}\n")
        return _EXIT_USAGE
    except (EdgeloopError, OSError) as error:
        sys.stderr.write(f"edgeloop-agent enrol: {error}\n")
        return _EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
