"""What a device does, from the files of a Linux kernel below a root: processor time and bytes over the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeloop_agent.fitness.kernel_files import processor_time
from edgeloop_agent.fitness.vitals import ProcessorTime, Seen

__all__ = ["Activity", "NetworkBytes", "own_memory_bytes", "read_activity"]

_NETWORK = "proc/net/dev"
_RECEIVED, _SENT = 0, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBytes:
    """Bytes over all interfaces but loopback since boot."""

    #: Received.
    received: int
    #: Sent.
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What the device has done since boot."""

    #: Time of all processors.
    processors: Seen[ProcessorTime]
    #: Bytes over the network.
    network: Seen[NetworkBytes]
    #: Size of the file system that holds the agent's state.
    disk_total_bytes: Seen[int]


def read_activity(root: Path, disk_total_bytes: Seen[int]) -> Activity:
    """Read processor time and network counters below ``root``."""
    return Activity(
        processors=processor_time(root), network=_network(root / _NETWORK), disk_total_bytes=disk_total_bytes
    )


def _network(path: Path) -> Seen[NetworkBytes]:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return Seen(reason=f"no {_NETWORK}")
    except OSError as error:
        return Seen(reason=f"{_NETWORK}: {error.strerror}", unreadable=True)
    received = sent = 0
    for line in lines:
        name, colon, rest = line.partition(":")
        words = rest.split()
        if not colon or name.strip() == "lo" or len(words) <= _SENT:
            continue
        if not (words[_RECEIVED].isdecimal() and words[_SENT].isdecimal()):
            return Seen(reason=f"{_NETWORK} holds {line.strip()[:40]!r}", unreadable=True)
        received, sent = received + int(words[_RECEIVED]), sent + int(words[_SENT])
    return Seen(value=NetworkBytes(received=received, sent=sent))


def own_memory_bytes() -> Seen[int]:
    """Return the resident memory of this process."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmRSS:"):
                return Seen(value=int(line.split()[1]) * 1024)
    except (OSError, ValueError, IndexError) as error:
        return Seen(reason=f"/proc/self/status cannot be read: {error}", unreadable=True)
    return Seen(reason="/proc/self/status has no VmRSS")
