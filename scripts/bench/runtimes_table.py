"""Measures real models under several runtimes with edgeloop's own verb and prints one table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DeviceResult, SilentListener
from edgeloop.interfaces.api import Edgeloop
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Verdict
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

HERE = Path(__file__).parent
RUNTIMES = ("onnxruntime", "openvino", "litert")


class Notes(SilentListener):
    """Says why a runtime has no form of a model."""

    def note(self, text: str) -> None:
        if "there is no" in text:
            print(f"  {text}", file=sys.stderr)


def interval(estimate: Estimate, scale: float, digits: int) -> str:
    if estimate.value is None:
        return "none"
    low, high = estimate.low or 0.0, estimate.high or 0.0
    return f"{estimate.value * scale:.{digits}f} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def print_row(model: str, runtime: str, result: DeviceResult, run: Run | None, sizes: dict[str, int]) -> int:
    """Print one row and return 1 when there is no figure."""
    evidence = next((e for e in result.evidence if run and e.candidate == run.trial.label), None)
    if run is None or evidence is None or run.timing is None or run.timing.steady is None:
        print(f"{model:16} {runtime:12} {run.failure_reason if run else 'no form of this model'}")
        return 1
    p50, p90 = evidence.value("latency_p50"), evidence.value("latency_p90").value
    verdict = evidence.parity.value if evidence.parity else "not checked"
    why = "" if evidence.parity is Verdict.PASSED else f": {evidence.parity_reason}"
    print(
        f"{model:16} {runtime:12} {run.runtime_version:24} {interval(p50, 1e3, 3):28} "
        f"{'-' if p90 is None else f'{p90 * 1e3:.3f}':>9} {sizes[run.trial.artifact_digest] / 1e6:6.2f} "
        f"{interval(evidence.gain('latency_p50'), 1.0, 2):22} {verdict}{why}"
    )
    if p50.value is None:
        print(f"  no p50: {p50.reason}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds of 0.6 s decide little")
    quick = parser.parse_args().quick
    sys.path.insert(0, str(HERE))
    import real_models

    benchmark = Benchmark(rounds=5, steady_s_max=4.0, measure_memory=True, measure_nodes=True)
    if quick:
        benchmark = replace(benchmark, rounds=3, steady_s_max=0.6)
    print(
        f"{'model':16} {'runtime':12} {'version':24} {'p50 ms [95 %]':28} {'p90 ms':>9} {'MB':>6} "
        f"{'gain [95 %]':22} parity"
    )
    missing = 0
    with tempfile.TemporaryDirectory() as home:
        verbs = Edgeloop(Path(home), Notes())
        for name in real_models.MODELS:
            (result,) = verbs.bench(
                f"{HERE / 'real_models.py'}:{name}",
                (DeviceSpec.parse("local"),),
                benchmark,
                RuntimeSettings(runtime=RUNTIMES[0]),
                data=f"{HERE / 'real_models.py'}:{name}_data",
                variants=[RuntimeSettings(runtime=other) for other in RUNTIMES[1:]],
            )
            if result.error:
                print(f"{name}: {result.error}", file=sys.stderr)
            runs = {run.trial.settings.runtime: run for run in result.runs}
            # What this runtime opens: a converted form has a size of its own.
            sizes = {digest: artifact.model_size_bytes for digest, artifact in verbs.artifacts()}
            for runtime in RUNTIMES:
                missing += print_row(name, runtime, result, runs.get(runtime), sizes)
    print("gain: times as fast as onnxruntime, paired by round; one thread, fp32 pinned on every runtime")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
