"""An agent of its own for a measurement: certificates, start, address, end."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from edgeloop.domain.device import DeviceSpec


@dataclass(frozen=True, kw_only=True)
class Files:
    """PEM files of a fleet of one device and one controller."""

    ca: Path
    agent: Path
    agent_key: Path
    controller: Path
    controller_key: Path


def issue(directory: Path) -> Files:
    """Make an authority and the certificates of both sides, valid for an hour."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.now(timezone.utc)
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench authority")])
    root = ec.generate_private_key(ec.SECP256R1())

    def write(
        name: str,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        extensions: list[x509.ExtensionType],
    ) -> tuple[Path, Path]:
        builder = x509.CertificateBuilder(
            authority, subject, key.public_key(), x509.random_serial_number()
        ).not_valid_before(now - timedelta(hours=1))
        builder = builder.not_valid_after(now + timedelta(hours=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(root, hashes.SHA256())
        pem, secret = directory / f"{name}.pem", directory / f"{name}.key"
        pem.write_bytes(certificate.public_bytes(Encoding.PEM))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pem, secret

    def leaf(name: str, usage: x509.ObjectIdentifier) -> tuple[Path, Path]:
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        names: list[x509.ExtensionType] = [
            x509.SubjectAlternativeName([here]),
            x509.ExtendedKeyUsage([usage]),
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return write(name, ec.generate_private_key(ec.SECP256R1()), subject, names)

    ca, _ = write("ca", root, authority, [x509.BasicConstraints(ca=True, path_length=0)])
    agent, agent_key = leaf("agent", ExtendedKeyUsageOID.SERVER_AUTH)
    controller, controller_key = leaf("controller", ExtendedKeyUsageOID.CLIENT_AUTH)
    return Files(
        ca=ca, agent=agent, agent_key=agent_key, controller=controller, controller_key=controller_key
    )


@dataclass(frozen=True, kw_only=True)
class RunningAgent:
    """A started agent."""

    pid: int
    device: DeviceSpec


@contextlib.contextmanager
def agent(home: Path, *, tls: bool) -> Iterator[RunningAgent]:
    """Run an agent on a free loopback port for the length of a block."""
    home.mkdir(parents=True)
    files = issue(home) if tls else None
    command = [sys.executable, "-m", "edgeloop_agent", "serve", "--name", "bench"]
    command += ["--state", str(home / "state"), "--listen", "127.0.0.1:0"]
    options: dict[str, str] = {}
    if files is None:
        command.append("--insecure-loopback")
    else:
        command += ["--tls-certificate", str(files.agent), "--tls-key", str(files.agent_key)]
        command += ["--tls-client-ca", str(files.ca)]
        options = {
            "tls_ca": str(files.ca),
            "tls_certificate": str(files.controller),
            "tls_key": str(files.controller_key),
        }
    log = home / "agent.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=os.environ
        )
    try:
        line = process.stdout.readline().decode() if process.stdout is not None else ""
        if not line.startswith("ready "):
            sys.exit(f"the agent did not start:\n{log.read_text(errors='replace')[-2000:]}")
        address = line.split()[1]
        device = DeviceSpec(
            name="bench", transport="grpc", address=address, options=tuple(sorted(options.items()))
        )
        yield RunningAgent(pid=process.pid, device=device)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
