"""Time to create a session and how the first inferences differ from the steady ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeloop_profiles.profile import Profile

__all__ = ["LoadPrediction", "predict_load"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPrediction:
    """Predicted session creation."""

    #: Session creation.
    load_s: float
    #: First inference relative to a steady one.
    first_inference_factor: float
    #: Inferences after which that has fallen to a third.
    warmup_inferences: float

    def warmup_factor(self, index: int) -> float:
        """Return how much slower than steady the inference of this index is, from 0."""
        return 1.0 + (self.first_inference_factor - 1.0) * math.exp(-index / self.warmup_inferences)


def predict_load(
    profile: Profile,
    *,
    kernel_count: int,
    model_size_bytes: int,
    cold: bool,
    frequency_hz: float | None = None,
    runtime: str = "onnxruntime",
) -> LoadPrediction:
    """Predict session creation; ``cold`` when the model's pages are not in the page cache.

    Raises:
        UnsupportedError: the profile has no figures for the runtime.
    """
    loading = profile.runtime(runtime).loading
    slowdown = profile.processor.max_frequency_hz / (frequency_hz or profile.processor.max_frequency_hz)
    work = loading.fixed_s + loading.kernel_s * kernel_count + model_size_bytes / loading.weight_bytes_per_s
    disk = model_size_bytes / profile.storage.read_bytes_per_s if cold else 0.0
    return LoadPrediction(
        load_s=work * slowdown + disk,
        first_inference_factor=loading.first_inference_factor,
        warmup_inferences=loading.warmup_inferences,
    )
