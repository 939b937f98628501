"""How a device is reached."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["DeviceSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSpec:
    """A device as the user names it.

    Text forms: ``local`` (this machine), ``sim:PROFILE`` (simulated board), ``unix:PATH`` and ``grpc://HOST:PORT``
    (a running agent), ``ssh:USER@HOST`` (the agent of a board, through its SSH server).
    A name in front makes it addressable: ``desk=local``, ``pi=sim:raspberry_pi_5``. The boards of a
    simulated fleet, ``fleet:NAME``, are found through the plan of the fleet, not here.
    """

    #: Name for people, unique within an experiment.
    name: str
    #: Registered transport driver: "local", "simulated", "fleet", "grpc" or "ssh".
    transport: str
    #: Socket path, host and port, or profile name, by transport.
    address: str = ""
    #: Further options of the transport, sorted by name, for example TLS files or a simulation seed.
    options: tuple[tuple[str, str], ...] = ()

    @property
    def on_this_machine(self) -> bool:
        """Return whether it is simulated here at once, so that its work takes processors of this machine."""
        return self.transport in ("simulated", "fleet") and "pace" not in dict(self.options)

    @classmethod
    def parse(cls, text: str) -> DeviceSpec:
        """Read a text form.

        Raises:
            InvalidInputError: it is none of the forms.
        """
        name, _, body = text.strip().rpartition("=")
        if body == "local":
            return cls(name=name or "this-machine", transport="local")
        if body.startswith("sim:") and body[4:]:
            return cls(name=name or body[4:], transport="simulated", address=body[4:])
        if body.startswith("grpc://") and ":" in body[7:]:
            return cls(name=name or body[7:], transport="grpc", address=body[7:])
        if body.startswith("unix:") and body[5:]:
            return cls(name=name or body[5:], transport="grpc", address=body)
        if body.startswith("ssh:") and body[4:]:
            return cls(name=name or body[4:].rpartition("@")[2], transport="ssh", address=body[4:])
        raise InvalidInputError(
            f"unknown device {text!r}.",
            next_step="Use local, sim:PROFILE, fleet:NAME, unix:PATH, grpc://HOST:PORT, ssh:USER@HOST, "
            "or the name of an added or configured device.",
        )
