"""What the agent probed about its device."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.emulation import Emulation

__all__ = ["Facts", "Hardware", "Hello", "OperatingSystem", "RuntimeFacts", "SensorFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who speaks, in which protocol version and with which capabilities."""

    #: Protocol version of the speaker.
    protocol_version: int
    #: Software version of the speaker.
    software_version: str
    #: Capabilities of the speaker.
    capabilities: tuple[str, ...] = ()
    #: Identifier of the device (agent) or of the controller.
    peer_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The board as the agent found it."""

    #: Board model, for example "Raspberry Pi 5 Model B Rev 1.0"; empty when unknown.
    model: str = ""
    #: Instruction set family, for example "aarch64" or "x86_64".
    architecture: str
    #: Processor name.
    cpu_model: str = ""
    #: Instruction set flags that matter for kernels, sorted, for example "avx2" or "asimddp".
    isa_flags: tuple[str, ...] = ()
    #: Logical processors that the agent may use.
    logical_cores: int
    #: Physical cores; absent when unknown.
    physical_cores: int | None = None
    #: Highest processor clock; absent when unknown.
    max_frequency_hz: float | None = None
    #: Installed memory, or the limit of the control group where that is smaller.
    memory_total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingSystem:
    """The operating system and the Python that the agent runs on."""

    #: Pretty name of the distribution.
    name: str
    #: Kernel release.
    kernel: str
    #: C library and version, for example "glibc 2.36".
    libc: str = ""
    #: Python version of the agent.
    python_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """One inference runtime, present or absent with the reason."""

    #: Registered driver name, for example "onnxruntime".
    name: str
    #: Installed version; empty when absent.
    version: str = ""
    #: Execution providers that the build offers.
    providers: tuple[str, ...] = ()
    #: Newest ONNX operator set it loads without complaint; absent when unknown.
    max_opset: int | None = None
    #: Why it cannot be used; empty when it can.
    reason: str = ""
    #: Artifact formats that it opens, for example "onnx".
    formats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorFacts:
    """One sensor, present or absent with the reason."""

    #: Registered driver name, for example "rapl".
    name: str
    #: What it reads, for example "energy" or "temperature".
    quantity: str
    #: Unit of its values.
    unit: str
    #: What it covers: "process", "package", "rail", "board" or "wall".
    scope: str
    #: Shortest useful time between two readings; absent when unknown.
    period_s: float | None = None
    #: Smallest step of a reading in its unit; absent when unknown.
    resolution: float | None = None
    #: Channels found, for example the names of thermal zones.
    channels: tuple[str, ...] = ()
    #: Why it cannot be read; empty when it can.
    reason: str = ""
    #: Stated relative error of a reading, for example 0.02; absent when unknown.
    error_fraction: float | None = None
    #: Time by which a reading trails the quantity; absent when unknown.
    lag_s: float | None = None
    #: How long one reading keeps a processor busy, as measured on this device; absent when not measured.
    cost_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything the agent probed; a mismatch with a declared profile is an error."""

    #: Stable identifier of the device.
    device_id: str
    #: Name for people.
    name: str
    #: True when this is a simulated board.
    simulated: bool = False
    #: Profile that a simulated board follows; empty for a real one.
    profile: str = ""
    #: SHA-256 of that profile's file; empty for a real board.
    profile_digest: str = ""
    #: The board.
    hardware: Hardware
    #: The operating system.
    operating_system: OperatingSystem
    #: Runtimes, present and absent.
    runtimes: tuple[RuntimeFacts, ...] = ()
    #: Sensors, present and absent.
    sensors: tuple[SensorFacts, ...] = ()
    #: Size of the file system that holds the agent's state.
    disk_total_bytes: int = 0
    #: Free space there.
    disk_free_bytes: int = 0
    #: Random identifier of this boot.
    boot_id: str = ""
    #: Agent version.
    agent_version: str = ""
    #: Resources narrower than the machine's that its runners are held in; absent for all of the machine.
    emulation: Emulation | None = None
