"""THE model of latency, memory, heat and power, over a kernel table; for simulator, calibration, search.

Law: pure functions and small state objects over a ``Profile``; standard library only; no clock, no file, no
global randomness. A prediction carries its point, its 90 % interval, its basis and its notes.
"""

from edgeloop_profiles.predict.basis import PUBLISHED_ROWS_MIN, Tier, basis_of, tier_of
from edgeloop_profiles.predict.latency import (
    KernelTime,
    Prediction,
    follow_convolutions,
    grouped,
    predict_latency,
)
from edgeloop_profiles.predict.load import LoadPrediction, predict_load
from edgeloop_profiles.predict.memory import MemoryPrediction, predict_memory
from edgeloop_profiles.predict.noise import NoiseShape, SampleStream
from edgeloop_profiles.predict.power import board_power_w, sensor_power_w
from edgeloop_profiles.predict.thermal import ThermalState
from edgeloop_profiles.predict.trust import FAMILY_GROUPS, REACH, Trust, family_shares, group_of

__all__ = [
    "FAMILY_GROUPS",
    "PUBLISHED_ROWS_MIN",
    "REACH",
    "KernelTime",
    "LoadPrediction",
    "MemoryPrediction",
    "NoiseShape",
    "Prediction",
    "SampleStream",
    "ThermalState",
    "Tier",
    "Trust",
    "basis_of",
    "board_power_w",
    "family_shares",
    "follow_convolutions",
    "group_of",
    "grouped",
    "predict_latency",
    "predict_load",
    "predict_memory",
    "sensor_power_w",
    "tier_of",
]
