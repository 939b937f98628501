"""What is predicted of one model on one board, and how far that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

__all__ = ["BoardPrediction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPrediction:
    """One model on one board with one number of threads; a board that could not run it has a reason and no figures.

    Raises:
        ValueError: figures and a reason, or neither.
    """

    #: Name of the board as it was asked for.
    board: str
    #: Profile, with its power mode behind an @ where one was named.
    profile: str
    #: SHA-256 of the profile's files.
    profile_digest: str
    #: Name of the model.
    model: str
    #: SHA-256 of the artifact whose kernels were predicted.
    artifact_digest: str
    #: Name and version of the runtime.
    runtime_version: str
    #: Threads within one operator.
    threads: int
    #: Items per inference.
    batch_size: int
    #: Simulated for predictions; measured where records of this very model on that device were found instead.
    source: Source
    #: What the latency rests on: one of the tiers of ``edgeloop_profiles.predict.Tier``.
    tier: str
    #: The tier, with "in family", "out of family" and "stale" where they apply.
    basis: str
    #: Median latency of one inference of a whole batch, in seconds, with its interval; absent with the reason.
    latency: Estimate
    #: Most memory that is ever resident, in bytes, with its 90 % interval; absent with the reason.
    peak_memory: Estimate
    #: What the memory rests on.
    memory_basis: str = ""
    #: Memory that the board has for it; None where nothing is predicted.
    available_memory_bytes: int | None = None
    #: Half-width of the latency's interval as a factor, for example 2.0 for "x/÷ 2"; None for measured figures.
    interval_factor: float | None = None
    #: Nearest family of models that was measured; empty without calibration.
    nearest_family: str = ""
    #: Distance to it, 0 (the same mix of kernels) to 1 (nothing in common); None without calibration.
    family_distance: float | None = None
    #: What lies outside of what was measured, one sentence each.
    extrapolations: tuple[str, ...] = ()
    #: True when the figures are those of another version of the runtime.
    stale: bool = False
    #: Precision that takes most of the time; empty where nothing is predicted.
    precision: str = ""
    #: What a reader should know besides, one sentence each.
    notes: tuple[str, ...] = ()
    #: Run that measured figures come from; empty for predictions.
    run_id: str = ""
    #: Why there are no figures; empty when there are.
    reason: str = ""

    def __post_init__(self) -> None:
        if bool(self.reason) != (self.latency.value is None):
            raise ValueError("a prediction has a latency or the reason why it has none")
