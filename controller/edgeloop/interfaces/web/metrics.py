"""Metrics for Prometheus (exposition format 0.0.4) and the targets of its HTTP service discovery.

Devices are scraped through the controller alone: they hold no credential of the monitoring. A device that is away keeps
``edgeloop_device_up`` 0 and loses its other series, so that no old figure passes for one of now.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from edgeloop_protocol.types.lease import LeaseState
from edgeloop_protocol.types.serving import ServingState

from edgeloop import __version__
from edgeloop.domain.alert import Alert
from edgeloop.domain.rollout import Rollout, RolloutState
from edgeloop.interfaces.web.views import state_of
from edgeloop.orchestrate.fleet_watch import DeviceLook, LookState

__all__ = [
    "CONTENT_TYPE",
    "Family",
    "alert_families",
    "exposition",
    "fleet_families",
    "record_families",
    "targets",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Family:
    """One metric with its series."""

    name: str
    about: str
    kind: str = "gauge"
    series: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, labels: Mapping[str, str], value: float | None) -> None:
        """Add a series; what is not known is no series."""
        if value is not None:
            self.series.append((labels, float(value)))

    def lines(self) -> Iterator[str]:
        """Yield its lines."""
        yield f"# HELP {self.name} {self.about}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.series:
            inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            number = repr(int(value)) if value.is_integer() else repr(value)
            yield f"{self.name}{{{inside}}} {number}" if inside else f"{self.name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def exposition(families: Iterable[Family]) -> str:
    """Return the text of a scrape."""
    return "".join(f"{line}\n" for family in families for line in family.lines())


def fleet_families(looks: Sequence[DeviceLook]) -> list[Family]:
    """Return what is known of every device."""
    now = time.time()
    up = Family("edgeloop_device_up", "Whether the device answered the last look.")
    info = Family("edgeloop_device_info", "The device, its board and its agent; always 1.")
    state = Family("edgeloop_device_state", "1 for the state that the device is in.")
    age = Family("edgeloop_device_look_age_seconds", "Time since the device was asked last.")
    waiting = Family("edgeloop_device_leases_queued", "How many wait for the device.")
    throttled = Family("edgeloop_device_throttled", "1 for a throttle state that holds now.")
    power = Family("edgeloop_device_power_watts", "Power by sensor.")
    measures = [(Family(name, about), attribute) for name, about, attribute in _MEASURES]
    for look in looks:
        if look.state is LookState.ON_USE:
            continue
        labels = {"device": look.name}
        answers = look.state is LookState.ANSWERS
        up.add(labels, answers)
        state.add({**labels, "state": state_of(look)}, 1)
        age.add(labels, now - look.asked_s if look.asked_s else None)
        if look.facts is not None:
            info.add({**labels, **_info(look)}, 1)
        if not answers or look.vitals is None:
            continue
        waiting.add(labels, sum(lease.state is LeaseState.QUEUED for lease in look.leases))
        for family, attribute in measures:
            family.add(labels, getattr(look.vitals, attribute))
        for word in look.vitals.throttled:
            throttled.add({**labels, "reason": word}, 1)
        for reading in look.vitals.readings:
            if reading.unit in ("watt", "W"):
                power.add({**labels, "sensor": reading.name}, reading.value)
    return [up, info, state, age, waiting, throttled, power, *(family for family, _ in measures)]


_MEASURES = (
    ("edgeloop_device_temperature_celsius", "Temperature of the hottest zone.", "temperature_celsius"),
    ("edgeloop_device_frequency_hertz", "Highest clock of its processors.", "frequency_hz"),
    ("edgeloop_device_load1", "Load average over one minute.", "load_average_1min"),
    ("edgeloop_device_memory_available_bytes", "Memory for a new process.", "available_memory_bytes"),
    ("edgeloop_device_disk_free_bytes", "Free space where the agent keeps its state.", "disk_free_bytes"),
    ("edgeloop_device_spool_waiting_results", "Results that nobody acknowledged yet.", "spool_waiting_count"),
)


def _info(look: DeviceLook) -> dict[str, str]:
    facts = look.facts
    if facts is None:
        return {}
    return {
        "board": facts.hardware.model,
        "architecture": facts.hardware.architecture,
        "agent_version": facts.agent_version,
        "simulated": str(facts.simulated).lower(),
        "groups": ",".join(look.entry.groups),
    }


def alert_families(alerts: Sequence[Alert]) -> list[Family]:
    """Return the alerts that are open."""
    found = Family("edgeloop_alert_open", "1 for an alert that is open.")
    for alert in alerts:
        found.add({"rule": alert.rule.value, "device": alert.device, "subject": alert.subject}, 1)
    return [found]


def record_families(
    run_counts: Mapping[tuple[str, str], int], rollouts: Sequence[Rollout], audit_problem: str
) -> list[Family]:
    """Return what is known of records, rollouts and the daemon itself."""
    build = Family("edgeloop_build_info", "Version of edgeloop; always 1.")
    build.add({"version": __version__}, 1)
    runs = Family("edgeloop_runs_total", "Runs on record by source and outcome.", "counter")
    for (source, outcome), count in sorted(run_counts.items()):
        runs.add({"source": source, "outcome": outcome}, count)
    states = Family("edgeloop_rollouts", "Rollouts by state.")
    for state in RolloutState:
        states.add({"state": state.value}, sum(one.state is state for one in rollouts))
    devices = Family("edgeloop_rollout_devices", "Devices of rollouts that are not over, by phase.")
    for rollout in rollouts:
        if rollout.over:
            continue
        phases = [device.phase.value for device in rollout.devices]
        for phase in dict.fromkeys(phases):
            labels = {"rollout": rollout.rollout_id, "release": rollout.plan.release, "phase": phase}
            devices.add(labels, phases.count(phase))
    audit = Family(
        "edgeloop_audit_log_intact", "1 while every line of the audit log follows from the one before."
    )
    audit.add({}, not audit_problem)
    return [build, runs, states, devices, audit]


def targets(looks: Sequence[DeviceLook], here: str, scheme: str) -> list[dict[str, object]]:
    """Return what Prometheus is to scrape, in the form of its HTTP service discovery.

    That is this controller, for all devices, and the HTTP listener of everything that devices serve beyond loopback.

    Args:
        looks: the devices.
        here: HOST:PORT under which Prometheus reached us.
        scheme: "http" or "https".
    """
    found: list[dict[str, object]] = [
        {"targets": [here], "labels": {"__scheme__": scheme, "edgeloop_role": "controller"}}
    ]
    for look in looks:
        for served in look.serving:
            address = _beyond_loopback(served.spec.http_address, look)
            if address and served.state is ServingState.READY:
                labels = {
                    # What is served beyond loopback wants the certificate of an observer or a controller.
                    "__scheme__": "https",
                    "edgeloop_role": "serving",
                    "device": look.name,
                    "deployment": served.spec.name,
                }
                found.append({"targets": [address], "labels": labels})
    return found


def _beyond_loopback(address: str, look: DeviceLook) -> str:
    """Return where others reach a listener; empty when it is the device's own."""
    parts = urlsplit(f"//{address}")
    host, port = parts.hostname or "", parts.port
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return "" if host == "localhost" else address
    if found.is_loopback:
        return ""
    if not found.is_unspecified:
        return address
    # Every interface: the one that the controller itself uses is known to work.
    reached = (
        urlsplit(f"//{look.entry.spec.address}").hostname if look.entry.spec.transport == "grpc" else None
    )
    if not reached or reached.startswith("unix"):
        return ""
    return f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"
