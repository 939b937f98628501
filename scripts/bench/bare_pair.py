"""Two models in one process, onnxruntime and numpy alone, in turns of some 20 ms: what the second costs of the first.

Usage: bare_pair.py MODEL_A MODEL_B INPUTS.npz SECONDS
Prints the ratios of the medians and of the lower quartiles, B over A. Processes differ; the caller takes several.
"""

import os
import sys
from time import perf_counter_ns

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
sessions = [ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in sys.argv[1:3]]
with np.load(sys.argv[3]) as pack:
    feed = {name[6:]: pack[name][:1] for name in pack.files if name.startswith("input/")}
seconds = float(sys.argv[4])


def turn(session, ns):
    samples, end = [], perf_counter_ns() + ns
    while perf_counter_ns() < end:
        start = perf_counter_ns()
        session.run(None, feed)
        samples.append(perf_counter_ns() - start)
    return samples


for session in sessions:
    turn(session, 100_000_000)
taken = ([], [])
end = perf_counter_ns() + int(seconds * 1e9)
while perf_counter_ns() < end:
    for side in (0, 1, 1, 0):
        # The first of a turn finds the other model's data in the caches.
        taken[side].extend(turn(sessions[side], 20_000_000)[1:])
print(*(float(np.quantile(taken[1], q) / np.quantile(taken[0], q)) for q in (0.5, 0.25)))
