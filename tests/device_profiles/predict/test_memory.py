"""Memory is runtime, parameters and activations."""

from __future__ import annotations

from edgeloop_profiles import Profile
from edgeloop_profiles.predict import predict_memory
from hypothesis import given, settings
from hypothesis import strategies as st

MIB = 1 << 20


def test_parameters_count_more_while_loading_and_activations_per_item(pi4: Profile) -> None:
    figures = pi4.runtimes[0].memory
    one = predict_memory(pi4, weight_bytes=10 * MIB, activation_peak_bytes=4 * MIB)
    eight = predict_memory(pi4, weight_bytes=10 * MIB, activation_peak_bytes=4 * MIB, batch_size=8)
    assert one.loaded_bytes == figures.baseline_bytes + figures.session_bytes + 16 * MIB
    assert one.load_peak_bytes - one.loaded_bytes == 14 * MIB
    assert eight.inference_peak_bytes - one.inference_peak_bytes == 28 * MIB
    assert one.peak_bytes == one.load_peak_bytes
    assert eight.peak_bytes == eight.inference_peak_bytes
    assert eight.basis == "transferred, unvalidated"


@settings(deadline=None)
@given(st.integers(0, 10**10), st.integers(0, 10**10), st.integers(1, 64))
def test_order_of_the_moments(weights: int, activations: int, batch_size: int) -> None:
    from edgeloop_profiles import load_profile

    found = predict_memory(
        load_profile("nuc11"), weight_bytes=weights, activation_peak_bytes=activations, batch_size=batch_size
    )
    assert found.baseline_bytes < found.loaded_bytes <= found.load_peak_bytes <= found.peak_bytes
    assert found.fits(found.peak_bytes)
    assert not found.fits(found.peak_bytes - 1)
