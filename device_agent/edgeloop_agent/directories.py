"""Directories of the agent whose names two rooms share."""

from __future__ import annotations

__all__ = ["SCRATCH", "SIMULATED_SYSTEM"]

SCRATCH = "scratch"
"""Below the state directory: one directory per runner, removed with it, or at the next start of the agent."""

SIMULATED_SYSTEM = "simulated_system"
"""Below the state directory: what stands for "/" on a simulated board."""
