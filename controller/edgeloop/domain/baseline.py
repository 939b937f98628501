"""What a later measurement is held against: figures recorded once, reviewed, and kept in version control."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.measurement import Distribution, Estimate
from edgeloop_protocol.types.run import Run, Source
from edgeloop_protocol.types.trial import RuntimeSettings

__all__ = ["Baseline", "BaselineFile", "fingerprint", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The figures of one model on one device, with all that must be equal for a comparison."""

    #: Name of the model in the tests.
    model: str
    #: Name of the device in the tests.
    device: str
    #: The board, for people.
    board: str
    #: Digest of the facts that make two devices comparable; see ``fingerprint``.
    fingerprint: str
    #: Measured or simulated.
    source: Source
    #: Profile of a simulated board by its digest; empty for a real one.
    profile_digest: str = ""
    #: "nominal" or "as_deployed".
    series: str
    #: Runtime and its version as loaded.
    runtime_version: str
    #: Settings it ran with.
    settings: RuntimeSettings
    #: Items per inference.
    batch_size: int
    #: What was measured.
    artifact_digest: str
    #: Day of the recording, UTC, for example "2026-11-25".
    recorded_on: str
    #: Who recorded it.
    edgeloop_version: str
    #: Latency of all samples.
    latency: Distribution
    #: Quantity -> value with the interval that counts, the differences between processes included.
    values: tuple[tuple[str, Estimate], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineFile:
    """A reviewed file of baselines."""

    #: Version of the layout.
    api_version: str = "edgeloop/v1"
    #: What the file is.
    kind: str = "Baseline"
    #: One per model and device.
    baselines: tuple[Baseline, ...] = ()

    def find(self, model: str, device: str) -> Baseline | None:
        """Return the baseline of a model on a device."""
        return next((b for b in self.baselines if (b.model, b.device) == (model, device)), None)

    def with_baseline(self, new: Baseline) -> BaselineFile:
        """Return the file with ``new`` in the place of the one of the same model and device."""
        others = [b for b in self.baselines if (b.model, b.device) != (new.model, new.device)]
        ordered = sorted([*others, new], key=lambda b: (b.model, b.device))
        return BaselineFile(api_version=self.api_version, kind=self.kind, baselines=tuple(ordered))


def fingerprint(facts: Facts) -> str:
    """Return the digest of what makes latencies of two devices comparable.

    Board, processor, instruction set, cores and the highest clock; of a simulated board also the profile's
    digest, and the emulated resources where there are some. Not the identifier: an agent that was installed anew is
    the same board. Two boards of one model have one fingerprint, so they are told apart by their names.
    """
    hardware = facts.hardware
    tree = {
        "simulated": facts.simulated,
        "profile_digest": facts.profile_digest,
        "model": hardware.model,
        "architecture": hardware.architecture,
        "cpu_model": hardware.cpu_model,
        "isa_flags": list(hardware.isa_flags),
        "logical_cores": hardware.logical_cores,
        "max_frequency_hz": hardware.max_frequency_hz,
    }
    if facts.emulation is not None:
        tree["emulation"] = facts.emulation.text
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def refusal(baseline: Baseline, run: Run, facts: Facts) -> str:
    """Return why ``run`` is not to be compared with ``baseline``, in one sentence; empty when it is."""
    known = f"the baseline of {baseline.model} on {baseline.device} ({baseline.recorded_on})"
    if baseline.source is not run.source:
        return f"{known} is {baseline.source.value}, this run is {run.source.value}: the two are never mixed"
    digest = run.simulation.profile_digest if run.simulation else ""
    if baseline.profile_digest != digest:
        return (
            f"{known} was predicted with another profile ({baseline.profile_digest[:12] or 'none'}, "
            f"now {digest[:12] or 'none'})"
        )
    if baseline.fingerprint != fingerprint(facts):
        board = facts.hardware.model or facts.hardware.cpu_model or facts.name
        return f"{known} comes from another device ({baseline.board}, this one is {board})"
    for what, then, now in (
        ("series", baseline.series, run.benchmark.series),
        ("runtime version", baseline.runtime_version, run.runtime_version),
        ("batch size", baseline.batch_size, run.benchmark.batch_size),
        ("set of runtime settings", baseline.settings, run.trial.settings),
    ):
        if then != now:
            return f"{known} has another {what} ({_short(then)}, now {_short(now)})"
    return ""


def _short(value: object) -> str:
    if isinstance(value, RuntimeSettings):
        return f"{value.runtime}, {value.intra_op_threads} threads, optimisation {value.graph_optimization}"
    return str(value)
