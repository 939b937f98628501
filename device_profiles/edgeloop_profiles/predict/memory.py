"""Resident memory of a runner process: runtime, parameters, activations."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_profiles.predict.basis import memory_tier
from edgeloop_profiles.profile import Profile

__all__ = ["MemoryPrediction", "predict_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPrediction:
    """Predicted resident set at the moments that are measured."""

    #: After importing the runtime.
    baseline_bytes: int
    #: After loading.
    loaded_bytes: int
    #: Peak up to the end of loading.
    load_peak_bytes: int
    #: Peak of the inferences.
    inference_peak_bytes: int
    #: The part backed by files: libraries and the interpreter.
    file_bytes: int
    #: 90 % interval of any of them, as a factor.
    interval_factor: float
    #: What it rests on.
    basis: str

    @property
    def peak_bytes(self) -> int:
        """Return the most that is ever resident."""
        return max(self.load_peak_bytes, self.inference_peak_bytes)

    def fits(self, available_bytes: int) -> bool:
        """Return whether the point estimate stays within what is available."""
        return self.peak_bytes <= available_bytes


_FILE_SHARE = 0.6
"""Share of a bare runtime's resident set that is mapped library code (assumed)."""


def predict_memory(
    profile: Profile,
    *,
    weight_bytes: int,
    activation_peak_bytes: int,
    batch_size: int = 1,
    runtime: str = "onnxruntime",
) -> MemoryPrediction:
    """Predict the resident memory of a runner.

    Args:
        profile: the board.
        weight_bytes: parameters as stored.
        activation_peak_bytes: peak of live activations at batch 1.
        batch_size: items per inference.
        runtime: name of the runtime.

    Raises:
        UnsupportedError: the profile has no figures for the runtime.
    """
    model = profile.runtime(runtime)
    figures = model.memory
    base = figures.baseline_bytes + figures.session_bytes
    loaded = base + round(weight_bytes * figures.weight_copies)
    return MemoryPrediction(
        baseline_bytes=figures.baseline_bytes,
        loaded_bytes=loaded,
        load_peak_bytes=max(loaded, base + round(weight_bytes * figures.load_weight_copies)),
        inference_peak_bytes=loaded + activation_peak_bytes * batch_size,
        file_bytes=round(figures.baseline_bytes * _FILE_SHARE),
        interval_factor=figures.interval_factor,
        basis=memory_tier(model).value,
    )
