"""The plainest loop of LiteRT: set, invoke and get, one process, median and p90 of one model's latency.

Usage: bare_litert.py MODEL.tflite INPUTS.npz WARMUP_S STEADY_S
Prints the median in nanoseconds, the number of samples and the p90 in nanoseconds.
"""

import sys
from time import perf_counter_ns

import numpy as np
from ai_edge_litert.interpreter import Interpreter

model, inputs, warmup_s, steady_s = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
entries = [(entry["name"], entry["index"]) for entry in interpreter.get_input_details()]
outputs = [entry["index"] for entry in interpreter.get_output_details()]
with np.load(inputs) as pack:
    packed = {name: pack[f"input/{name}"] for name, _ in entries}
    count = min(8, *(len(array) for array in packed.values()), 8)
    feeds = [[(index, packed[name][i : i + 1]) for name, index in entries] for i in range(count)]


def infer(feed):
    for index, value in feed:
        interpreter.set_tensor(index, value)
    interpreter.invoke()
    return [interpreter.get_tensor(index) for index in outputs]


end = perf_counter_ns() + int(warmup_s * 1e9)
while perf_counter_ns() < end:
    for feed in feeds:
        infer(feed)
samples = []
end = perf_counter_ns() + int(steady_s * 1e9)
while perf_counter_ns() < end:
    for feed in feeds:
        start = perf_counter_ns()
        infer(feed)
        samples.append(perf_counter_ns() - start)
print(int(np.median(samples)), len(samples), int(np.quantile(samples, 0.9)))
