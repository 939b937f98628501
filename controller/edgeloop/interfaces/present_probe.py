"""What a probe or a calibration showed, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

from edgeloop.interfaces.present import print_json, print_table, print_text

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec
    from edgeloop.domain.probe import ProbedFacts
    from edgeloop.orchestrate.calibrate import Calibrated

__all__ = ["print_calibrated", "print_probes"]


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
    if answers.source is Source.EMULATED:
        how = "measured under emulated resources"
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


def print_calibrated(result: Calibrated, as_json: bool) -> None:
    """Print how well the fitted profile explains what was measured, and what it may be trusted with."""
    found = result.profile.calibration
    rows = [
        {"model": model, "threads": threads, "measured_s": measured, "fitted_s": fitted}
        for model, threads, measured, fitted in result.rows
    ]
    if as_json:
        print_json(
            {"profile": str(result.path), "calibration": found, "rows": rows, "left_out": result.left_out}
        )
        return
    print_table(
        ["model", "threads", "measured", "fitted", "error"],
        [
            (
                str(row["model"]),
                str(row["threads"]),
                f"{measured * 1e3:.3f} ms",
                f"{fitted * 1e3:.3f} ms",
                f"{(fitted / measured - 1) * 100:+.1f} %",
            )
            for row, (_, _, measured, fitted) in zip(rows, result.rows, strict=True)
        ],
        str(result.path),
    )
    for reason in result.left_out:
        print_text(f"  left out: {reason}")
    if found is not None:
        print_text(
            f"  {found.method}; models left out are off by {found.held_out_mape:.1%} on average; 90 % interval "
            f"x/\N{DIVISION SIGN} {found.in_family_factor:.2f} for models like these, "
            f"x/\N{DIVISION SIGN} {found.out_of_family_factor:.2f} for others"
        )
