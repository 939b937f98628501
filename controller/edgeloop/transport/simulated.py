"""A simulated board: the same agent, the same wire, predicted times."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_profiles import load_profile
from edgeloop_profiles.fault_script import check_script, load_faults

from edgeloop.transport.local import LocalTransport, file_name

__all__ = ["SimulatedTransport"]

_NUMERICS = ("isa", "host")


class SimulatedTransport(LocalTransport):
    """Starts ``edgeloop-agent serve --simulate PROFILE --seed N`` on this machine.

    The address of the device names the profile; its option ``seed`` goes before the experiment's seed, and
    ``numerics`` says whose 8-bit arithmetic parity is checked with: ``isa``, the board's own, or ``host``.
    ``faults`` names a script of what goes wrong on it. ``pace`` lets so many simulated seconds pass in one of the wall
    clock, where they pass at once otherwise; ``link_mbit`` is what the way to the board carries, in Mbit/s.
    """

    name: ClassVar[str] = "simulated"
    option_names: ClassVar[frozenset[str]] = (
        LocalTransport.option_names | {"faults", "link_mbit", "numerics", "pace", "seed"}
    ) - {"compute", "cpus", "memory"}

    def _state_name(self) -> str:
        # A board that was declared anew with another profile is another board.
        name = file_name(self.spec.name)
        return name if self.spec.name == self.spec.address else f"{name}.{file_name(self.spec.address)}"

    def _agent_options(self) -> list[str]:
        text = self.option("seed")
        try:
            seed = int(text) if text else self.seed
        except ValueError as error:
            raise InvalidInputError(
                f"device {self.spec.name}: seed is a whole number, not {text!r}."
            ) from error
        if not self.spec.address:
            raise InvalidInputError(
                f"device {self.spec.name} names no profile.", next_step="Write it as sim:PROFILE."
            )
        numerics = self.option("numerics") or "isa"
        if numerics not in _NUMERICS:
            raise InvalidInputError(
                f"device {self.spec.name}: numerics is {numerics!r}; allowed are {' and '.join(_NUMERICS)}."
            )
        # The agent would refuse it too, but only after it was started.
        profile = load_profile(self.spec.address)
        options = [*super()._agent_options(), "--simulate", self.spec.address, "--seed", str(seed)]
        options += ["--numerics", numerics]
        for name in ("pace", "link_mbit"):
            if value := self.option(name):
                options += [f"--{name.replace('_', '-')}", self._positive(name, value)]
        if faults := self.option("faults"):
            path = Path(faults).expanduser().absolute()
            check_script(load_faults(path), [(self.spec.name, profile, ())])
            options += ["--faults", str(path)]
        return options

    def _positive(self, name: str, text: str) -> str:
        try:
            if 0 < float(text) < math.inf:
                return text
        except ValueError:
            pass
        raise InvalidInputError(
            f"device {self.spec.name}: {name} is a number above 0, not {text!r}.",
            next_step="With pace = 1 the board takes as long on the wall clock as it says.",
        )
