"""The rule that sums up what a device reported of its outputs."""

from __future__ import annotations

from edgeloop_protocol.types.run import Parity, Verdict

__all__ = ["overall_verdict"]


def overall_verdict(parity: Parity | None) -> tuple[Verdict | None, str]:
    """Return the verdict over all comparisons of a run with its reason, None when parity was not checked.

    FAILED if any comparison failed; PASSED if "host" passed and "original" did not fail; else UNDECIDED.
    """
    if parity is None:
        return None, "parity was not checked"
    failed = [c for c in parity.comparisons if c.verdict is Verdict.FAILED]
    if failed:
        return Verdict.FAILED, "; ".join(f"against {c.against}: {c.reason}" for c in failed)
    host = next((c for c in parity.comparisons if c.against == "host"), None)
    if host is None:
        return Verdict.UNDECIDED, "the device's outputs were not compared with the host's"
    if host.verdict is Verdict.PASSED:
        return Verdict.PASSED, host.reason or "the device reproduces the host's outputs"
    return Verdict.UNDECIDED, f"against host: {host.reason or 'undecided'}"
