"""The blobs of raw samples that a record names."""

from __future__ import annotations

from edgeloop_protocol.types.run import Run

__all__ = ["raw_samples"]

_SAMPLE_BYTES = 8


def raw_samples(run: Run) -> dict[str, int]:
    """Return the SHA-256 of each blob of raw samples with its size in bytes.

    They are kept on the device until the record is acknowledged, and fetched before it is.
    """
    counts: dict[str, int] = {}
    if run.timing is not None:
        counts[run.timing.samples_digest] = sum(block.sample_count for block in run.timing.blocks)
    if run.arrivals is not None:
        counts[run.arrivals.samples_digest] = run.arrivals.latency.sample_count
    if run.sustained is not None:
        counts[run.sustained.samples_digest] = run.sustained.kept_count
    counts.pop("", None)
    return {digest: _SAMPLE_BYTES * count for digest, count in counts.items()}
