"""What every test shares: telemetry off before anything imports onnxruntime, and no stopwatch over drawn examples."""

import os

from hypothesis import settings

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

# A machine that works on other things is slow for a moment, and that says nothing about an example.
settings.register_profile("edgeloop", deadline=None)
settings.load_profile("edgeloop")
