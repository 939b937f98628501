"""What a simulated board says about itself: the profile, marked as simulated."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from edgeloop_profiles.profile import Profile
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts, SensorFacts

from edgeloop_agent import __version__
from edgeloop_agent.inventory import simulated_device_id

__all__ = ["build_facts"]


def build_facts(
    profile: Profile,
    seed: int,
    name: str,
    state_directory: Path,
    sensors: Sequence[SensorFacts],
    boot: int = 0,
) -> Facts:
    """Return the facts of a board with the sensors that were found; only the disk is that of this machine."""
    disk = shutil.disk_usage(state_directory)
    device = simulated_device_id(profile.name, seed, name)
    figures = profile.operating_system
    absent = _absent(profile)
    told = {sensor.name for sensor in absent}
    return Facts(
        device_id=device,
        name=name,
        simulated=True,
        profile=profile.name,
        profile_digest=profile.digest,
        hardware=_hardware(profile),
        operating_system=OperatingSystem(
            name=figures.name,
            kernel=figures.kernel,
            libc=figures.libc,
            python_version=figures.python_version,
        ),
        runtimes=tuple(
            RuntimeFacts(
                name=runtime.name,
                version=runtime.version,
                providers=runtime.providers,
                max_opset=runtime.max_opset,
            )
            for runtime in profile.runtimes
        )
        + tuple(RuntimeFacts(name=absent.name, reason=absent.reason) for absent in profile.absent_runtimes),
        # The profile's reason tells more than that of a driver that found nothing.
        sensors=(*(sensor for sensor in sensors if sensor.name not in told), *absent),
        disk_total_bytes=disk.total,
        disk_free_bytes=disk.free,
        # A boot survives a restart of the agent, on a real board and here.
        boot_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{device}/boot/{boot}" if boot else f"{device}/boot")),
        agent_version=__version__,
    )


def _hardware(profile: Profile) -> Hardware:
    processor = profile.processor
    return Hardware(
        model=processor.board_model,
        architecture=processor.architecture,
        cpu_model=processor.cpu_model,
        isa_flags=tuple(sorted(processor.isa_flags)),
        logical_cores=processor.logical_cores,
        physical_cores=processor.physical_cores,
        max_frequency_hz=processor.max_frequency_hz,
        memory_total_bytes=profile.memory.total_bytes,
    )


def _absent(profile: Profile) -> tuple[SensorFacts, ...]:
    """Return what the profile says is not there, which no driver can know."""
    return tuple(
        SensorFacts(
            name=sensor.name,
            quantity=sensor.quantity,
            unit=sensor.unit,
            scope=sensor.scope,
            reason=f"absent: {sensor.reason}",
        )
        for sensor in profile.sensors
        if sensor.reason
    )
