"""A release as it is signed, the bundle it travels in, and how a device stands with it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_protocol.types.artifact import FileEntry, TensorSpec
from edgeloop_protocol.types.isolation_tier import check_tier

__all__ = [
    "NO_LIMITS",
    "OVER",
    "DeploymentState",
    "DeploymentStatus",
    "ModelLimits",
    "ReleaseBundle",
    "ReleaseTerms",
    "check_deployment_name",
]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_deployment_name(name: str) -> str:
    """Return ``name``, which becomes a directory on the device.

    Raises:
        InvalidInputError: it is none that is possible.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"deployment name {name[:80]!r} is not possible: 1 to 63 lower-case letters, digits and inner hyphens."
        )
    return name


class DeploymentState(enum.Enum):
    """How far an installation is."""

    RECEIVING = "receiving"
    VERIFIED = "verified"
    STAGED = "staged"
    PROBED = "probed"
    ACTIVATING = "activating"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


OVER = frozenset({DeploymentState.COMMITTED, DeploymentState.ROLLED_BACK, DeploymentState.FAILED})
"""States in which nothing goes on."""


_LAYOUTS = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLimits:
    """What every process that opens a release is held in: in the probe, on trial, and when it is served."""

    #: Weakest tier of isolation in which it is opened; empty leaves it to the device.
    isolation: str = ""
    #: Most resident memory in bytes; 0 sets no limit.
    memory_bytes_max: int = 0
    #: Most threads and processes at a time; 0 leaves it to the device.
    process_count_max: int = 0
    #: Longest that one load or one run may take in seconds; 0 leaves it to the device.
    step_s_max: int = 0

    def __post_init__(self) -> None:
        if self.isolation:
            check_tier(self.isolation)
        if min(self.memory_bytes_max, self.process_count_max, self.step_s_max) < 0:
            raise InvalidInputError("limits are not negative; 0 sets none.")


NO_LIMITS = ModelLimits()
"""Nothing was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTerms:
    """What the release key signs beside the manifest's digest; TUF's canonical JSON has whole numbers only.

    Empty selectors admit every device.
    """

    #: Version of this layout: 2 where isolation, processes or time are limited, which an agent of layout 1 would pass
    #: over in silence.
    schema_version: int = 1
    #: Rises with every release of a name, also when the content goes back.
    counter: int
    #: Identifiers or names of the devices that may install it.
    devices: tuple[str, ...] = ()
    #: Processor architectures that may install it, for example "aarch64".
    architectures: tuple[str, ...] = ()
    #: Runtime that opens it.
    runtime: str = "onnxruntime"
    #: Lowest version of the runtime, for example "1.19"; empty means any.
    runtime_version_min: str = ""
    #: The first version of the runtime that is too new; empty means none is.
    runtime_version_below: str = ""
    #: Format of the model.
    format: str
    #: Every file with digest and size.
    files: tuple[FileEntry, ...]
    #: Inputs.
    inputs: tuple[TensorSpec, ...] = ()
    #: Outputs.
    outputs: tuple[TensorSpec, ...] = ()
    #: SHA-256 of the golden pack.
    golden_digest: str
    #: Most resident memory of its runner in bytes; 0 sets no limit.
    memory_bytes_max: int = 0
    #: Longest median latency at batch 1 in microseconds; 0 sets no limit.
    latency_us_max: int = 0
    #: Weakest tier of isolation in which it is opened; empty leaves it to the device.
    isolation: str = ""
    #: Most threads and processes of what opens it; 0 leaves it to the device.
    process_count_max: int = 0
    #: Longest that one load or one run of it may take in seconds; 0 leaves it to the device.
    step_s_max: int = 0

    def __post_init__(self) -> None:
        if self.schema_version not in _LAYOUTS:
            raise InvalidInputError(f"terms of layout {self.schema_version} are not known here; 1 and 2 are.")
        if self.schema_version == 1 and (self.isolation or self.process_count_max or self.step_s_max):
            raise InvalidInputError("terms of layout 1 limit neither isolation nor processes nor time.")
        if self.isolation:
            check_tier(self.isolation)
        limits = (self.memory_bytes_max, self.latency_us_max, self.process_count_max, self.step_s_max)
        if self.counter < 1 or min(limits) < 0:
            raise InvalidInputError("a release has a counter above 0 and limits that are not negative.")
        if self.golden_digest not in {entry.digest for entry in self.files}:
            raise InvalidInputError("the golden pack is one of the release's files.")

    @property
    def limits(self) -> ModelLimits:
        """What every process that opens it is held in."""
        return ModelLimits(
            isolation=self.isolation,
            memory_bytes_max=self.memory_bytes_max,
            process_count_max=self.process_count_max,
            step_s_max=self.step_s_max,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseBundle:
    """Signed metadata of The Update Framework, whole."""

    #: Every root, version 1 first.
    roots: tuple[str, ...]
    #: timestamp.json.
    timestamp: str
    #: snapshot.json.
    snapshot: str
    #: targets.json.
    targets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentStatus:
    """One deployment as it stands on a device."""

    #: Its name.
    name: str
    #: How far the last installation is.
    state: DeploymentState
    #: SHA-256 of the manifest of the artifact that it installs; empty before it was verified.
    artifact_digest: str = ""
    #: Counter of its release; 0 before it was verified.
    counter: int = 0
    #: SHA-256 of the manifest of what serves; empty when nothing does.
    current_digest: str = ""
    #: Counter of what serves; 0 when nothing does.
    current_counter: int = 0
    #: SHA-256 of the manifest of what a rollback goes back to; empty when there is none.
    previous_digest: str = ""
    #: Counter of what a rollback goes back to; 0 when there is none.
    previous_counter: int = 0
    #: Why it failed or was rolled back; empty otherwise.
    reason: str = ""
    #: What the probe and the trial measured, for people.
    measured: str = ""
    #: Time that the last change of the pointer took; absent before one.
    switch_s: float | None = None

    def __post_init__(self) -> None:
        check_deployment_name(self.name)
        for digest in (self.artifact_digest, self.current_digest, self.previous_digest):
            if digest and not _DIGEST.fullmatch(digest):
                raise InvalidInputError(f"{digest[:80]!r} is no SHA-256 in 64 hexadecimal digits.")
