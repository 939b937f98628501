"""What every test shares: telemetry off before anything imports onnxruntime."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
