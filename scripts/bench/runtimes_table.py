"""Measures real models under several runtimes with edgeloop's own verb and prints one table."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from edgeloop.domain.device import DeviceSpec
from edgeloop.interfaces.api import Edgeloop
from edgeloop_protocol.types.run import Verdict
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

HERE = Path(__file__).parent
RUNTIMES = ("onnxruntime", "openvino", "litert")


def main() -> int:
    sys.path.insert(0, str(HERE))
    import real_models

    benchmark = Benchmark(rounds=5, steady_s_max=4.0, measure_memory=True, measure_nodes=True)
    if "--quick" in sys.argv[1:]:
        benchmark = replace(benchmark, rounds=3, steady_s_max=0.6)
    print(f"{'model':16} {'runtime':12} {'version':24} {'p50 ms [95 %]':28} {'p90 ms':>9} {'MB':>6} {'gain [95 %]':22} parity")
    missing = 0
    with tempfile.TemporaryDirectory() as home:
        verbs = Edgeloop(Path(home))
        for name in real_models.MODELS:
            (result,) = verbs.bench(
                f"{HERE / 'real_models.py'}:{name}",
                (DeviceSpec.parse("local"),),
                benchmark,
                RuntimeSettings(),
                data=f"{HERE / 'real_models.py'}:{name}_data",
                runtimes=RUNTIMES,
            )
            if result.error:
                print(f"{name}: {result.error}", file=sys.stderr)
            runs = {run.trial.settings.runtime: run for run in result.runs}
            for runtime in RUNTIMES:
                run = runs.get(runtime)
                evidence = next((e for e in result.evidence if e.candidate.endswith(f" on {runtime}")), None)
                if run is None or evidence is None or run.timing is None or run.timing.steady is None:
                    print(f"{name:16} {runtime:12} {run.failure_reason if run else 'no form of this model'}")
                    missing += 1
                    continue
                p50, p90 = evidence.value("latency_p50"), evidence.value("latency_p90")
                size, gain = evidence.value("size"), evidence.gain("latency_p50")
                shown = "" if gain.value is None else f"{gain.value:.2f} [{gain.low or 0:.2f}, {gain.high or 0:.2f}]"
                middle = "-" if p50.value is None else f"{p50.value * 1e3:.3f} [{(p50.low or 0) * 1e3:.3f}, {(p50.high or 0) * 1e3:.3f}]"
                tail = "-" if p90.value is None else f"{p90.value * 1e3:.3f}"
                verdict = evidence.parity.value if evidence.parity else "not checked"
                print(
                    f"{name:16} {runtime:12} {run.runtime_version:24} {middle:28} {tail:>9} "
                    f"{(size.value or 0) / 1e6:6.2f} {shown:22} {verdict}"
                    + ("" if evidence.parity is Verdict.PASSED else f": {evidence.parity_reason}")
                )
    print("gain: times as fast as onnxruntime, paired by round; one thread, fp32 pinned on every runtime")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
