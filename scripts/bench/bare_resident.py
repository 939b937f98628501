"""What one model takes of memory, onnxruntime and numpy alone: resident set above that of the process without it.

Usage: bare_resident.py MODEL INPUTS.npz
Prints the bytes that are resident after two inferences, and the peak while loading and running, above the start.
"""

import os
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

import numpy as np
import onnxruntime as ort


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
with np.load(sys.argv[2]) as pack:
    feed = {name[6:]: pack[name][:1] for name in pack.files if name.startswith("input/")}
before = status("VmRSS")
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
for _ in range(2):
    session.run(None, feed)
print(status("VmRSS") - before, status("VmHWM") - before)
