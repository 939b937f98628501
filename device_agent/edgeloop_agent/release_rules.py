"""Whether a verified release is for this device and this artifact."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeloop_foundation.errors import AccessDeniedError, StateError
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.deployment import ReleaseTerms
from edgeloop_protocol.types.facts import Facts, RuntimeFacts

__all__ = ["check_artifact", "check_device"]


def check_device(terms: ReleaseTerms, facts: Facts) -> None:
    """Hold a release's selectors against this device.

    Raises:
        AccessDeniedError: it was signed for another device or another hardware.
        StateError: the runtime that it needs is not here.
    """
    if terms.devices and not {facts.device_id, facts.name} & set(terms.devices):
        raise AccessDeniedError(
            f"the release is for the devices {', '.join(terms.devices)}; this one is {facts.name} ({facts.device_id})."
        )
    architecture = facts.hardware.architecture
    if terms.architectures and architecture not in terms.architectures:
        raise AccessDeniedError(
            f"the release is for the architectures {', '.join(terms.architectures)}; this one is {architecture}."
        )
    _check_runtime(terms, facts.runtimes)


def _check_runtime(terms: ReleaseTerms, runtimes: Sequence[RuntimeFacts]) -> None:
    found = next((one for one in runtimes if one.name == terms.runtime and not one.reason), None)
    if found is None or (found.formats and terms.format not in found.formats):
        raise StateError(
            f"the release needs {terms.runtime} for {terms.format}, which this device does not have.",
            next_step="Install it there, or sign a release for a runtime that it has.",
        )
    low, high = terms.runtime_version_min, terms.runtime_version_below
    version = _version(found.version)
    if (low and version < _version(low)) or (high and version >= _version(high)):
        wanted = " ".join(
            part for part in (f"from {low}" if low else "", f"below {high}" if high else "") if part
        )
        raise StateError(f"the release needs {terms.runtime} {wanted}; this device has {found.version}.")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def check_artifact(terms: ReleaseTerms, artifact: Artifact) -> None:
    """Hold what was signed about the artifact against its manifest.

    Raises:
        AccessDeniedError: they differ.
    """
    golden = next((entry.digest for entry in artifact.files if entry.name == artifact.golden_file), "")
    pairs = (
        ("files", terms.files, artifact.files),
        ("format", terms.format, artifact.format),
        ("inputs", terms.inputs, artifact.inputs),
        ("outputs", terms.outputs, artifact.outputs),
        ("golden pack", terms.golden_digest, golden),
    )
    for what, signed, there in pairs:
        if signed != there:
            raise AccessDeniedError(f"the manifest's {what} are not what was signed beside it.")
