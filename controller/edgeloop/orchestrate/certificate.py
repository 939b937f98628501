"""Parity certificates: have a device sign one, keep it, and verify one offline."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import AccessDeniedError, InvalidInputError, NotFoundError, StateError
from edgeloop_foundation.ports.fs import OsFileSystem, make_durable_directory, write_durably
from edgeloop_protocol.certificate import certificates_in
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.attestation import ParityStatement
from edgeloop_protocol.types.identity import TrustList

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.fleet import open_one
from edgeloop.orchestrate.identity import authority_of
from edgeloop.orchestrate.leasing import leased
from edgeloop.orchestrate.measure import OpenDevice

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.identity.attestation import Trusted

__all__ = ["attest_on", "issue_certificate", "keep_certificate", "trusted_here", "verify_file"]

_FILE_BYTES_MAX = 1 << 20


async def attest_on(app: App, device: OpenDevice, name: str, life_s: float) -> tuple[ParityStatement, str]:
    """Have one open device verify and run what it serves; return its statement and envelope.

    Raises:
        EdgeloopError: it does not hold there, or the device does not answer.
    """
    async with leased(app, device.client) as lease:
        return await device.client.deployments.attest(name, lease, life_s)


def keep_certificate(home: Path, device: OpenDevice, statement: ParityStatement, envelope: str) -> Path:
    """Verify what a device signed, write it down and return the file.

    Raises:
        StateError: the device is not enrolled, so that nobody signed.
        AccessDeniedError: it is about another device.
        EdgeloopError: it does not hold.
    """
    from edgeloop.identity.attestation import verify_certificate

    if not envelope:
        raise StateError(
            "it is not enrolled, so that it can sign no certificate.",
            next_step="Enrol it: edgeloop device enrol NAME.",
        )
    signed = verify_certificate(envelope, trusted_here(home, ()), time.time())
    if signed.device_id != device.facts.device_id or signed != statement:
        raise AccessDeniedError(f"it brought the certificate of {signed.device_name}.")
    fs, directory = OsFileSystem(), home / "certificates"
    make_durable_directory(fs, directory)
    device_part = "".join(c if c.isalnum() or c in "-_" else "-" for c in signed.identity.rpartition("/")[2])
    path = directory / f"{signed.deployment}.{signed.counter}.{device_part}.json"
    write_durably(fs, path, envelope.encode())
    return path


async def issue_certificate(
    app: App, name: str, device: DeviceSpec, life_s: float
) -> tuple[Path, ParityStatement]:
    """Have a device sign a certificate about what it serves under a name, and return file and content.

    Raises:
        EdgeloopError: it does not hold there, or the device is not enrolled.
    """
    async with open_one(app, device) as opened:
        statement, envelope = await attest_on(app, opened, name, life_s)
        return keep_certificate(app.state_directory, opened, statement, envelope), statement


def trusted_here(home: Path, roots: Sequence[Path]) -> Trusted:
    """Return whom to trust: the certificates in these files, or this controller's own fleet with its revocations.

    Raises:
        NotFoundError: there is no such file, or no fleet here.
        InvalidInputError: a file holds no certificate.
    """
    from edgeloop.identity.attestation import Trusted

    if not roots:
        trust = from_json(authority_of(home).trust().payload, TrustList)
        return Trusted(roots=trust.roots, revoked=tuple(one.public_key for one in trust.revoked))
    found: list[str] = []
    for path in roots:
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}.")
        certificates = certificates_in(path.read_text(encoding="ascii", errors="replace"))
        if not certificates:
            raise InvalidInputError(f"{path} holds no certificate in PEM.")
        found += certificates
    return Trusted(roots=tuple(found))


def verify_file(path: Path, trusted: Trusted, *, device: str = "", artifact: str = "") -> ParityStatement:
    """Verify a certificate without any device, and hold it against what the reader expects.

    Args:
        path: the file.
        trusted: whom to trust.
        device: name, identifier or identity that it has to be of; empty for any.
        artifact: first digits of the digest that it has to be about; empty for any.

    Raises:
        NotFoundError: there is no such file.
        EdgeloopError: it is refused, with the reason.
    """
    from edgeloop.identity.attestation import verify_certificate

    if not path.is_file():
        raise NotFoundError(f"there is no file {path}.")
    with path.open("rb") as file:
        statement = verify_certificate(file.read(_FILE_BYTES_MAX + 1), trusted, time.time())
    names = (statement.identity.rpartition("/")[2], statement.identity, statement.device_id)
    if device and device not in names:
        raise AccessDeniedError(f"it is of {statement.identity}, not of {device}.")
    if artifact and not statement.artifact_digest.startswith(artifact):
        raise AccessDeniedError(
            f"it is about artifact {statement.artifact_digest[:12]}, not {artifact[:12]}."
        )
    return statement
