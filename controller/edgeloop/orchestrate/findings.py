"""What the doctor makes of answers: pure rules, each finding with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.identity import DAY_S, RENEWAL_DUE_S, IdentityStatus
from edgeloop_protocol.types.isolation_tier import DEFAULT, TIERS, reaches
from edgeloop_protocol.types.lease import Availability, AvailabilityState
from edgeloop_protocol.types.outcome import Isolation
from edgeloop_protocol.types.vitals import DeviceVitals

from edgeloop import __version__
from edgeloop.domain.device import DeviceSpec

__all__ = [
    "DoctorFinding",
    "accelerator_findings",
    "availability_findings",
    "identity_findings",
    "isolation_findings",
    "version_findings",
    "vital_findings",
]

_SKEW_S_MAX = 5.0
_MEMORY_FREE_MIN_BYTES = 200 * 1024 * 1024
_JETSON_WORDS = ("jetson", "tegra", "orin", "xavier")
_GPU_PROVIDERS = ("CUDA", "Tensorrt", "TensorRT")


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorFinding:
    """One thing that was looked at."""

    #: "ok", "warning" or "error"; an error prevents measuring.
    level: str
    #: One sentence.
    what: str
    #: What to do about it; empty when nothing is needed.
    next_step: str = ""


def _warn(what: str, next_step: str) -> DoctorFinding:
    return DoctorFinding(level="warning", what=what, next_step=next_step)


def availability_findings(found: Availability, name: str) -> list[DoctorFinding]:
    """Return whether somebody took the device out of use, and how it rests between jobs."""
    rest = []
    if found.cool_down is not None:
        rest = [DoctorFinding(level="ok", what=f"it rests before each job: {found.cool_down.text}")]
    if found.state is AvailabilityState.OPEN:
        return rest
    said = f"{found.state.value} by {found.drained_by}: {found.reason}"
    return [DoctorFinding(level="error", what=said, next_step=f"edgeloop device undrain {name}"), *rest]


def version_findings(found: Facts, name: str, *, by_ssh: bool) -> list[DoctorFinding]:
    """Return whether the agent is of this controller's version."""
    if found.agent_version == __version__:
        return []
    step = f"edgeloop device upgrade {name}" if by_ssh else "Install this version there and start it again."
    said = f"the agent is {found.agent_version or 'of an unknown version'}, this controller is {__version__}"
    return [_warn(said, step)]


def accelerator_findings(found: Facts) -> list[DoctorFinding]:
    """Return whether a Jetson would be measured without its graphics processor."""
    if not any(word in found.hardware.model.lower() for word in _JETSON_WORDS) or found.simulated:
        return []
    providers = [p for runtime in found.runtimes if not runtime.reason for p in runtime.providers]
    if any(word in provider for provider in providers for word in _GPU_PROVIDERS):
        return []
    return [
        _warn(
            "CPU only: no runtime of this Jetson uses its graphics processor",
            "Install the onnxruntime-gpu of its JetPack there, then start the agent again.",
        )
    ]


def isolation_findings(last: Isolation | None, spec: DeviceSpec) -> list[DoctorFinding]:
    """Return whether the last run there was held less than a service of the system can hold it.

    Args:
        last: what the last record says; None without one.
        spec: the device; only one that was added as a service of the system can do better.
    """
    is_service = spec.transport == "ssh" and dict(spec.options).get("service") == "system"
    if last is None or last.tier not in TIERS or reaches(last.tier, DEFAULT) or not is_service:
        return []
    why = f": {last.reason}" if last.reason else ""
    step = f"edgeloop device add {spec.address} --name {spec.name} --isolation systemd"
    return [_warn(f"its last run was held in the isolation {last.tier} alone{why}", step)]


def identity_findings(status: IdentityStatus, name: str, now_s: float) -> list[DoctorFinding]:
    """Return what is wrong with a device's certificate and clock; nothing for one that is not enrolled."""
    findings = []
    if not status.clock_trusted:
        findings.append(
            DoctorFinding(
                level="error",
                what="its clock shows a time before the fleet's trust list was signed",
                next_step="Set its clock: sudo timedatectl set-ntp true",
            )
        )
    if status.not_after_s is None:
        return findings
    left_s = status.not_after_s - now_s
    if left_s <= 0:
        what = f"its certificate ran out {-left_s / DAY_S:.1f} days ago"
        step = f"edgeloop device enrol {name}"
        findings.append(DoctorFinding(level="error", what=what, next_step=step))
    elif left_s < RENEWAL_DUE_S:
        what = f"its certificate runs out in {left_s / DAY_S:.1f} days"
        findings.append(_warn(what, f"edgeloop ca renew --on {name}"))
    else:
        what = f"enrolled as {status.uri}, for {left_s / DAY_S:.0f} days more"
        findings.append(DoctorFinding(level="ok", what=what))
    return findings


def vital_findings(vitals: DeviceVitals, asked_s: float, answered_s: float) -> list[DoctorFinding]:
    """Return what is wrong with a device at this moment.

    Args:
        vitals: its answer.
        asked_s: when it was asked, by the controller's clock.
        answered_s: when it had answered.
    """
    findings = _clock_findings(vitals, asked_s, answered_s)
    if vitals.throttled:
        findings.append(
            DoctorFinding(
                level="error",
                what=f"it is slowed down now: {', '.join(vitals.throttled)}",
                next_step="Cool it and check its power supply, or measure it as it is: --as-deployed",
            )
        )
    if vitals.governor and set(vitals.governor.split(",")) != {"performance"}:
        findings.append(
            _warn(
                f"its clock follows the load (governor {vitals.governor})",
                "There: sudo cpupower frequency-set -g performance; or measure it as it is: --as-deployed",
            )
        )
    free = vitals.available_memory_bytes
    if free is not None and free < _MEMORY_FREE_MIN_BYTES:
        findings.append(_warn(f"only {free / 1e6:.0f} MB of memory are free", "Stop what else runs there."))
    if vitals.spool_waiting_count and vitals.job is None:
        what = f"{vitals.spool_waiting_count} results wait there to be fetched"
        findings.append(_warn(what, "The next run or bench on it fetches them."))
    return findings


def _clock_findings(vitals: DeviceVitals, asked_s: float, answered_s: float) -> list[DoctorFinding]:
    # Its clock was read somewhere between question and answer.
    skew_s = vitals.wall_s - min(max(vitals.wall_s, asked_s), answered_s)
    if abs(skew_s) > _SKEW_S_MAX:
        ahead = "ahead of" if skew_s > 0 else "behind"
        what = f"its clock is {abs(skew_s):.0f} s {ahead} this machine's"
        return [_warn(what, "Set both by NTP: sudo timedatectl set-ntp true")]
    if vitals.clock_synchronised is False:
        return [_warn("its clock is not set by NTP", "There: sudo timedatectl set-ntp true")]
    return []
