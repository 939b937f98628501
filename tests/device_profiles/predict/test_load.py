"""Loading reads, parses and prepares; the first inferences are slower."""

from __future__ import annotations

from edgeloop_profiles import Profile
from edgeloop_profiles.predict import predict_load


def test_a_cold_load_adds_the_disk(pi4: Profile) -> None:
    size = 45_000_000
    warm = predict_load(pi4, kernel_count=50, model_size_bytes=size, cold=False)
    cold = predict_load(pi4, kernel_count=50, model_size_bytes=size, cold=True)
    assert cold.load_s - warm.load_s == size / pi4.storage.read_bytes_per_s


def test_more_kernels_and_a_lower_clock_load_longer(pi4: Profile) -> None:
    few = predict_load(pi4, kernel_count=10, model_size_bytes=10**6, cold=False)
    many = predict_load(pi4, kernel_count=100, model_size_bytes=10**6, cold=False)
    slow = predict_load(pi4, kernel_count=10, model_size_bytes=10**6, cold=False, frequency_hz=0.9e9)
    assert few.load_s < many.load_s
    assert slow.load_s == 2 * few.load_s


def test_warm_up_fades(pi4: Profile) -> None:
    load = predict_load(pi4, kernel_count=10, model_size_bytes=10**6, cold=False)
    factors = [load.warmup_factor(index) for index in range(20)]
    assert factors[0] == pi4.runtimes[0].loading.first_inference_factor
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] < 1.0001
