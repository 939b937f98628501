"""What every test shares: telemetry off before anything imports onnxruntime, and no stopwatch over drawn examples.

What takes long comes first, so that at the end no processor waits for the last long test of another.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"

# A machine that works on other things is slow for a moment, and that says nothing about an example.
settings.register_profile("edgeloop", deadline=None)
settings.load_profile("edgeloop")

LONG = ("simulated", "end_to_end", "controller/interfaces/gate")
"""Folders whose tests take seconds each."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the order otherwise."""
    folders = tuple(Path(__file__).parent / name for name in LONG)
    items.sort(key=lambda item: not any(folder in item.path.parents for folder in folders))
