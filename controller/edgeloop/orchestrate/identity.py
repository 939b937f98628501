"""Keeping a fleet's identities: enrolment through a channel that proves who answers, renewal, newer trust lists."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import CorruptDataError, EdgeloopError, InvalidInputError, NotFoundError
from edgeloop_protocol.certificate import read_certificate
from edgeloop_protocol.convert.json import from_json, to_canonical_json
from edgeloop_protocol.types.identity import (
    RENEWAL_DUE_S,
    Identity,
    IdentityStatus,
    Role,
    SignedTrust,
    TrustList,
)

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.identity import HOLDER_DIRECTORY, HolderFiles, Signer
from edgeloop.identity.authority import AUTHORITY_DIRECTORY, Authority, host_label

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.transport.client import AgentClient

__all__ = [
    "Kept",
    "RunThere",
    "authority_of",
    "enrol_through",
    "found_fleet",
    "keep_device",
    "keep_devices",
    "keep_own",
    "keep_own_quietly",
    "keep_quietly",
]

RunThere = Callable[[Sequence[str], bytes], bytes]
"""``run(argv, standard_input) -> standard_output`` on the device, over a channel that proves who answers.

Raises one of our errors when the program cannot be started or fails.
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was done for one device."""

    #: The device.
    device: DeviceSpec
    #: How it stands afterwards; absent when it could not be asked.
    status: IdentityStatus | None = None
    #: Whether it has a new key and certificate.
    renewed: bool = False
    #: Whether it has a newer trust list.
    updated: bool = False
    #: Why it could not be done; empty when it was.
    error: str = ""


def found_fleet(home: Path, fleet: str, name: str = "") -> tuple[Authority, Identity]:
    """Make the authority of a new fleet and this controller's own identity.

    Raises:
        AlreadyExistsError: there is an authority.
        InvalidInputError: a name is not possible.
    """
    own = Identity(fleet=fleet, role=Role.CONTROLLER, name=name or host_label())
    authority = Authority.create(home / AUTHORITY_DIRECTORY, fleet)
    authority.issue_holder(own, _own_files(home))
    return authority, own


def authority_of(home: Path) -> Authority:
    """Open the authority below a controller's home.

    Raises:
        NotFoundError: there is none.
    """
    return Authority(home / AUTHORITY_DIRECTORY)


def _own_files(home: Path) -> HolderFiles:
    return HolderFiles(directory=home / HOLDER_DIRECTORY)


def enrol_through(
    run: RunThere, signer: Signer, identity: Identity, state: str, agent: Sequence[str] = ("edgeloop-agent",)
) -> None:
    """Enrol a device: its key is made there, a request comes back, a certificate goes there.

    Args:
        run: runs a program on the device.
        signer: the authority.
        identity: who the device is to be.
        state: the agent's state directory, as the device names it.
        agent: how the agent's program is started there.

    Raises:
        InvalidInputError: what came back is not a request for this device.
        EdgeloopError: whatever ``run`` raises.
    """
    where = ("--state", state, "--identity", identity.uri)
    answer = run((*agent, "enrol", "request", *where), b"")
    try:
        request = answer.decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{identity.name} answered with no request for a certificate.") from error
    enrolment = signer.sign(request, identity)
    run((*agent, "enrol", "install", *where), to_canonical_json(enrolment))


def keep_own(home: Path, *, now_s: float | None = None, force: bool = False) -> bool:
    """Renew this controller's own certificate when it is due, and bring its trust list up to date.

    Returns whether the certificate is new. Without an authority here there is nothing to do.
    """
    files = _own_files(home)
    try:
        authority = authority_of(home)
    except NotFoundError:
        return False
    if not files.there:
        return False
    identity, not_after_s = _holder_of(files)
    due = not_after_s - (time.time() if now_s is None else now_s) < RENEWAL_DUE_S
    if due or force:
        authority.issue_holder(identity, files)
    elif _number(authority.trust()) != _number(_trust_in(files)):
        authority.write_trust(files)
    return due or force


def _holder_of(files: HolderFiles) -> tuple[Identity, float]:
    """Return who a directory belongs to and when its certificate runs out.

    Raises:
        CorruptDataError: it cannot be read.
    """
    try:
        certificate = read_certificate(files.identity.read_text())
        return Identity.parse("".join(certificate.uris)), certificate.not_after_s
    except (InvalidInputError, UnicodeDecodeError) as error:
        raise CorruptDataError(
            f"{files.identity} holds no certificate of the fleet.",
            next_step=f"Have it issued again: edgeloop ca issue controller NAME -o {files.directory}.",
        ) from error


def _trust_in(files: HolderFiles) -> SignedTrust:
    return from_json(files.trust.read_bytes(), SignedTrust)


def _number(signed: SignedTrust) -> int:
    return from_json(signed.payload, TrustList).number


async def keep_device(
    client: AgentClient, spec: DeviceSpec, home: Path, *, force: bool = False
) -> Kept | None:
    """Give a device the newest trust list and, when it is due, a new certificate; None when it has no identity.

    Raises:
        EdgeloopError: the device refuses, or the authority cannot sign.
    """
    files = _own_files(home)
    if "identity" not in client.capabilities or not files.there:
        return None
    status = await client.identity_status()
    newest = _trust_in(files)
    if not status.uri or Identity.parse(status.uri).fleet != from_json(newest.payload, TrustList).fleet:
        return None
    updated = _number(newest) > status.trust_number
    if updated:
        status = await client.update_trust(newest)
    left_s = (status.not_after_s or 0.0) - time.time()
    renewed = (force or left_s < RENEWAL_DUE_S) and (home / AUTHORITY_DIRECTORY).is_dir()
    if renewed:
        request = await client.request_certificate()
        enrolment = authority_of(home).sign(request, Identity.parse(status.uri))
        status = await client.install_certificate(enrolment.chain)
    return Kept(device=spec, status=status, renewed=renewed, updated=updated)


async def keep_devices(app: App, specs: Sequence[DeviceSpec], *, force: bool = False) -> tuple[Kept, ...]:
    """Do for each device what ``keep_device`` does; one that fails does not hold up the others."""

    async def one(spec: DeviceSpec) -> Kept:
        try:
            async with app.connect(spec, 0) as client:
                kept = await keep_device(client, spec, app.state_directory, force=force)
            return kept or Kept(device=spec, error=f"{spec.name} is not enrolled in this fleet.")
        except EdgeloopError as error:
            return Kept(device=spec, error=str(error))

    keep_own(app.state_directory)
    return tuple(await asyncio.gather(*(one(spec) for spec in specs)))


def keep_own_quietly(home: Path) -> None:
    """Do what ``keep_own`` does; a failure does not stop a measurement, whose connection says it if it matters."""
    try:
        keep_own(home)
    except (EdgeloopError, OSError) as error:
        _log.warning("this controller's identity is not up to date: %s", error)


async def keep_quietly(client: AgentClient, spec: DeviceSpec, home: Path) -> None:
    """Do what is due on the way to a measurement, which a failure here does not stop."""
    try:
        kept = await keep_device(client, spec, home)
    except EdgeloopError as error:
        _log.warning("the identity of %s is not up to date: %s", spec.name, error)
        return
    if kept is not None and kept.renewed:
        _log.info("%s has a new certificate", spec.name)
