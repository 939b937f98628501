"""Enrolling a device without SSH: an agent of this machine, or one that comes with a join token."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, StateError
from edgeloop_protocol.types.identity import Identity, Role

from edgeloop.identity.join import JoinListener
from edgeloop.identity.tokens import JoinTokens
from edgeloop.orchestrate.identity import authority_of, enrol_through

__all__ = ["JoinOffer", "enrol_here", "join_offer"]

_TOKENS = "tokens.json"
_STEP_S = 60.0
_REASON_LENGTH_MAX = 500


def _device(home: Path, name: str) -> Identity:
    return Identity(fleet=authority_of(home).ledger().fleet, role=Role.DEVICE, name=name)


def run_here(argv: Sequence[str], standard_input: bytes) -> bytes:
    """Run a program of this machine and return its output; the ``RunThere`` of a device that is this machine.

    Raises:
        StateError: it fails; its own sentence says why.
    """
    try:
        done = subprocess.run(argv, input=standard_input, capture_output=True, timeout=_STEP_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StateError(f"{argv[0]} cannot be run: {error}.") from error
    if done.returncode != 0:
        text = "".join(c for c in done.stderr.decode("utf-8", "replace") if c.isprintable() or c == " ")
        raise StateError(text[-_REASON_LENGTH_MAX:].strip() or f"{argv[0]} ended with {done.returncode}.")
    return done.stdout


def enrol_here(home: Path, name: str, state: Path) -> Identity:
    """Enrol an agent of this machine that is not running yet, or has not been enrolled.

    Raises:
        NotFoundError: there is no authority.
        InvalidInputError: the name is not possible.
        StateError: the agent's program refuses.
    """
    identity = _device(home, name)
    agent = (sys.executable, "-m", "edgeloop_agent")
    enrol_through(run_here, authority_of(home), identity, str(state.absolute()), agent)
    return identity


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOffer:
    """A join token that somebody waits for."""

    #: The token; whoever has it within 15 minutes can be the device.
    token: str
    #: Where the device is to ask, HOST:PORT.
    address: str
    _listener: JoinListener

    def wait(self) -> Identity:
        """Wait until the device has joined.

        Raises:
            DeadlineError: it did not in time.
        """
        return self._listener.wait()


@contextlib.contextmanager
def join_offer(home: Path, name: str, address: str) -> Iterator[JoinOffer]:
    """Give out a join token for a device and wait for it at an address.

    Raises:
        InvalidInputError: name or address are not possible.
        NotFoundError: there is no authority.
        UnavailableError: the address cannot be used.
    """
    identity = _device(home, name)
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise InvalidInputError(f"{address[:200]!r} is not of the form HOST:PORT.")
    authority = authority_of(home)
    tokens = JoinTokens(authority.directory / _TOKENS, time.time)
    with JoinListener(authority, tokens, host, int(port)) as listener:
        token = tokens.create(identity, authority.fingerprint)
        yield JoinOffer(token=token, address=f"{host}:{listener.port}", _listener=listener)
