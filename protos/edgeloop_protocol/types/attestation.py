"""What a device states about a deployment that it ran: the parity certificate's content."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_protocol.types.deployment import check_deployment_name
from edgeloop_protocol.types.facts import OperatingSystem, RuntimeFacts
from edgeloop_protocol.types.run import Isolation, Parity

__all__ = ["ParityStatement"]

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityStatement:
    """What serves was verified byte by byte, was run in the runner's isolation, and agreed with its golden pack."""

    #: Name of the deployment.
    deployment: str
    #: SHA-256 of the manifest of the artifact that serves.
    artifact_digest: str
    #: Counter of its release.
    counter: int
    #: Identity of the device, ``spiffe://FLEET/device/NAME``; empty when it has none, and then nobody signs.
    identity: str = ""
    #: Identifier of the device, from its hardware.
    device_id: str
    #: Its name.
    device_name: str
    #: Board or processor.
    hardware: str = ""
    #: Whether it is a simulated board: the outputs are computed, the latency is predicted.
    simulated: bool = False
    #: Its operating system.
    operating_system: OperatingSystem
    #: The runtime that opened the artifact, with its build.
    runtime: RuntimeFacts
    #: Version of the agent.
    agent_version: str = ""
    #: What kept the runner in, as probed from inside.
    isolation: Isolation
    #: Every output held against every reference.
    parity: Parity
    #: Median latency of one inference in seconds, of a few inferences.
    latency_s: float
    #: Peak of resident memory in bytes; absent when it cannot be read.
    memory_bytes: int | None = None
    #: When it was stated, and from when on it no longer holds; seconds since 1970 by the device's clock.
    issued_s: float
    #: See above.
    expires_s: float

    def __post_init__(self) -> None:
        check_deployment_name(self.deployment)
        if not _DIGEST.fullmatch(self.artifact_digest) or self.counter < 1:
            raise InvalidInputError("a parity statement names an artifact and the counter of its release.")
        if not (math.isfinite(self.issued_s) and math.isfinite(self.expires_s)):
            raise InvalidInputError("a parity statement has a time of issue and a time of expiry.")
        if self.issued_s >= self.expires_s:
            raise InvalidInputError("a parity statement holds for some time.")
