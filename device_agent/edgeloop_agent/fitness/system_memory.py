"""What a model took from the whole system's memory: the figure that counts where an accelerator shares it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_agent.fitness.vitals import Vitals

__all__ = ["SystemMemory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemMemory:
    """The fall of the available memory between two moments, or the reason why there is none."""

    #: By how much it fell; absent when it is not known or rose.
    drop_bytes: int | None = None
    #: How it was read; empty without a figure.
    method: str = ""
    #: Why there is none; empty with one.
    reason: str = ""

    @classmethod
    def between(cls, before: Vitals, after: Vitals, simulated: bool) -> SystemMemory:
        """Compare the moment before loading with the one after the inferences."""
        if simulated:
            return cls(reason="the memory of the whole system is not simulated")
        first, last = before.available_memory_bytes, after.available_memory_bytes
        if first.value is None or last.value is None:
            return cls(
                reason=f"the memory of the system is not known: {(last if last.value is None else first).reason}"
            )
        drop = first.value - last.value
        if drop < 0:
            return cls(
                reason=f"others gave back memory meanwhile: {-drop} bytes more are available than before"
            )
        return cls(drop_bytes=drop, method=f"fall of MemAvailable{_held(before, after)}")


def _held(before: Vitals, after: Vitals) -> str:
    first, last = before.accelerator_bytes.value, after.accelerator_bytes.value
    return "" if first is None or last is None else f", of which NvMap took {last - first} bytes"
