"""Directories of the agent: names that two rooms share, and such that are still there after a power cut."""

from __future__ import annotations

from edgeloop_foundation.ports.fs import make_durable_directory

__all__ = ["SCRATCH", "SIMULATED_SYSTEM", "make_durable_directory"]

SCRATCH = "scratch"
"""Below the state directory: one directory per runner, removed with it, or at the next start of the agent."""

SIMULATED_SYSTEM = "simulated_system"
"""Below the state directory: what stands for "/" on a simulated board."""
