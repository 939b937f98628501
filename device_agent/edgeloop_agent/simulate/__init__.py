"""The same agent on a simulated board: predicted times, heat and power on accelerated job time; real parity.

Law: implements the ``Board`` interface and nothing above it; imports ``edgeloop_profiles``, floor 0 and what the
agent reads a real board with. Every number comes from ``edgeloop_profiles.predict``; one seed gives the same numbers.
What an operating system shows is written into files (``files/``) and read by the drivers of ``sensors/`` and the
readers of ``fitness/``, which know nothing of it. Nothing here sleeps, and nothing here is ever reported as measured.
"""

from edgeloop_agent.simulate.board import SimulatedBoard
from edgeloop_agent.simulate.clock import SimulatedJobClock

__all__ = ["SimulatedBoard", "SimulatedJobClock"]
