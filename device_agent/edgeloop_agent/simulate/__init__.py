"""The same agent on a simulated board: predicted times, heat and power on accelerated job time; real parity.

Law: a board implements the ``Board`` interface and nothing above it; imports ``edgeloop_profiles``, floor 0 and what
the agent reads a real board with. Every number comes from ``edgeloop_profiles.predict``, and one seed gives the same
numbers. What an operating system shows is written into files (``files/``) and read by the drivers of ``sensors/`` and
the readers of ``fitness/``, which know nothing of it. Nothing is ever reported as measured. ``life`` and ``host``
stand above: they start the agent on a simulated board, one or many in a process, and end it as faults have it. Faults
act on the ports and the socket that the agent stands on; no other room knows of them.

Decisions:

- Faults are of the kernel's kind (ENOSPC, EIO, a closed socket, a flipped byte): the agent and the controller answer
  them by the code that answers real ones. Mocked answers of services, the alternative, would test the mock.
- A fault on the wire needs a relay in front of the agent; a board without a fault has none and costs nothing.
- Places are counted in requests, bytes, writes and job time, never in wall time, so that a seed replays them.
"""

from edgeloop_agent.simulate.board import SimulatedBoard
from edgeloop_agent.simulate.clock import SimulatedJobClock

__all__ = ["SimulatedBoard", "SimulatedJobClock"]
