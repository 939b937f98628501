"""MLCommons LoadGen issuing onnxruntime's ``session.run``, SingleStream, one process; its own p50 and p90.

Usage: bare_loadgen.py MODEL INPUTS.npz WARMUP_S STEADY_S
Prints the median in nanoseconds, the number of queries and the p90 in nanoseconds, as LoadGen wrote them down.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter_ns

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

import mlperf_loadgen as loadgen
import numpy as np
import onnxruntime as ort

model, inputs, warmup_s, steady_s = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
with np.load(inputs) as pack:
    names = [name for name in pack.files if name.startswith("input/")]
    feeds = [{name[6:]: pack[name][i : i + 1] for name in names} for i in range(min(8, len(pack[names[0]])))]

count, start = 0, perf_counter_ns()
end = start + int(warmup_s * 1e9)
while perf_counter_ns() < end:
    session.run(None, feeds[count % len(feeds)])
    count += 1
expected_ns = (perf_counter_ns() - start) // count


def answer(samples):
    for sample in samples:
        session.run(None, feeds[sample.index])
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, 0, 0)])


settings = loadgen.TestSettings()
settings.scenario = loadgen.TestScenario.SingleStream
settings.mode = loadgen.TestMode.PerformanceOnly
settings.single_stream_expected_latency_ns = expected_ns
settings.min_query_count = 64
settings.min_duration_ms = int(steady_s * 1000)
sut = loadgen.ConstructSUT(answer, lambda: None)
library = loadgen.ConstructQSL(len(feeds), len(feeds), lambda _: None, lambda _: None)
with tempfile.TemporaryDirectory() as directory:
    logs = loadgen.LogSettings()
    logs.enable_trace = False
    logs.log_output.outdir = directory
    logs.log_output.copy_summary_to_stdout = False
    loadgen.StartTestWithLogSettings(sut, library, settings, logs)
    lines = (Path(directory) / "mlperf_log_detail.txt").read_text().splitlines()
loadgen.DestroyQSL(library)
loadgen.DestroySUT(sut)
found = {
    record["key"]: record["value"]
    for record in (json.loads(line.removeprefix(":::MLLOG ")) for line in lines)
}
print(
    *(
        found[f"result_{key}"]
        for key in ("50.00_percentile_latency_ns", "query_count", "90.00_percentile_latency_ns")
    )
)
