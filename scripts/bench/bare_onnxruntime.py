"""The plainest loop there is: onnxruntime and numpy alone, one process, median and p90 of one model's latency.

Usage: bare_onnxruntime.py MODEL INPUTS.npz WARMUP_S STEADY_S
Prints the median in nanoseconds, the number of samples and the p90 in nanoseconds.
"""

import os
import sys
from time import perf_counter_ns

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

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

end = perf_counter_ns() + int(warmup_s * 1e9)
while perf_counter_ns() < end:
    for feed in feeds:
        session.run(None, feed)
samples = []
end = perf_counter_ns() + int(steady_s * 1e9)
while perf_counter_ns() < end:
    for feed in feeds:
        start = perf_counter_ns()
        session.run(None, feed)
        samples.append(perf_counter_ns() - start)
print(int(np.median(samples)), len(samples), int(np.quantile(samples, 0.9)))
