"""THE model of latency, memory, heat and power, over a kernel table; for simulator, calibration, search.

Law: pure functions and small state objects over a ``Profile``; standard library only; no clock, no file, no
global randomness. A prediction carries its point, its 90 % interval, its basis and its notes.
"""

from edgeloop_profiles.predict.latency import BASIS, KernelTime, Prediction, predict_latency
from edgeloop_profiles.predict.load import LoadPrediction, predict_load
from edgeloop_profiles.predict.memory import MemoryPrediction, predict_memory
from edgeloop_profiles.predict.noise import NoiseShape, SampleStream
from edgeloop_profiles.predict.power import board_power_w, sensor_power_w
from edgeloop_profiles.predict.thermal import ThermalState

__all__ = [
    "BASIS",
    "KernelTime",
    "LoadPrediction",
    "MemoryPrediction",
    "NoiseShape",
    "Prediction",
    "SampleStream",
    "ThermalState",
    "board_power_w",
    "predict_latency",
    "predict_load",
    "predict_memory",
    "sensor_power_w",
]
