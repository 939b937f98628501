"""What a probe showed, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

from edgeloop.interfaces.present import print_json, print_table, print_text

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec
    from edgeloop.domain.probe import ProbedFacts

__all__ = ["print_probes"]


def print_probes(probed: Sequence[tuple[DeviceSpec, ProbedFacts | None, str]], as_json: bool) -> None:
    """Print every device's answers, or why it gave none."""
    if as_json:
        rows = [{"device": spec, "probe": answers, "reason": reason} for spec, answers, reason in probed]
        print_json({"devices": rows})
        return
    for spec, answers, reason in probed:
        if answers is None:
            print_text(f"{spec.name}: {reason}")
        else:
            _print_one(answers)


def _print_one(answers: ProbedFacts) -> None:
    how = "predicted" if answers.source is Source.SIMULATED else "measured"
    rows = [
        ("channel block", str(answers.channel_block or "undecided"), answers.block_reason),
        ("best int8 encoding", answers.best_encoding or "undecided", answers.encoding_reason),
        *((f"int8 {e.encoding} over fp32", _factor(e.gain), "") for e in answers.encodings),
        ("int8 instructions", ", ".join(answers.int8_flags) or "none known", "flags of the processor"),
        ("fp16 over fp32", _factor(answers.fp16_gain), ""),
        *((f"{t.threads} threads, convolution", _factor(t.compute), "") for t in answers.threads),
        *((f"{t.threads} threads, memory", _factor(t.memory), "") for t in answers.threads),
        (
            "stream bandwidth",
            _interval(answers.stream_bandwidth_bytes_per_s, 1e-9, " GB/s"),
            "read and written by elementwise operators, one thread",
        ),
    ]
    title = f"{answers.device_name}: {how} with {answers.runtime_version} in {answers.duration_s:.0f} s"
    print_table(["question", "answer", "why"], rows, title)


def _factor(estimate: Estimate) -> str:
    return _interval(estimate, 1.0, "x")


def _interval(estimate: Estimate, scale: float, unit: str) -> str:
    if estimate.value is None:
        return f"none: {estimate.reason}"
    value = f"{estimate.value * scale:.2f}{unit}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{estimate.low * scale:.2f}, {estimate.high * scale:.2f}]"
