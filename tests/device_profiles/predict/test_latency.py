"""The latency model keeps physical order and stays near what is published."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
from edgeloop_foundation.errors import InvalidInputError, UnsupportedError
from edgeloop_profiles import Profile, list_profiles, load_profile
from edgeloop_profiles.predict import Prediction, follow_convolutions, grouped, predict_latency
from edgeloop_protocol.types.artifact import Kernel
from hypothesis import given, settings
from hypothesis import strategies as st

PROFILES = {name: load_profile(name) for name in list_profiles()}
CLASSES = ("conv", "conv1x1", "depthwise", "gemm", "matmul", "recurrent")
LIGHT = ("elementwise", "pool", "reduce", "resize", "layout", "quantize", "other")

profiles = st.sampled_from(sorted(PROFILES)).map(PROFILES.__getitem__)
sizes = st.integers(0, 50_000_000)


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    precision = draw(st.sampled_from(("fp32", "fp16", "int8")))
    return Kernel(
        name="k",
        kernel_class=draw(st.sampled_from(CLASSES + LIGHT)),
        op_type=draw(st.sampled_from(("Conv", "Sigmoid", "ConvInteger", "MatMulInteger"))),
        precision=precision,
        macs=draw(st.integers(0, 10**10)),
        input_bytes=draw(sizes),
        weight_bytes=draw(sizes),
        output_bytes=draw(sizes),
        input_channels=draw(st.integers(0, 512)),
        output_channels=draw(st.integers(0, 512)),
        output_positions=draw(st.integers(0, 10_000)),
        encoding=draw(st.sampled_from(("U8S8", "S8S8", "U8U8", ""))) if precision == "int8" else "",
    )


def point(profile: Profile, *table: Kernel, threads: int = 1, **options: float) -> float:
    return predict_latency(profile, table, threads=threads, **options).point_s  # type: ignore[arg-type]


@settings(deadline=None)
@given(profiles, kernels(), st.integers(0, 10**9), st.integers(1, 8))
def test_more_arithmetic_is_never_faster(profile: Profile, kernel: Kernel, more: int, threads: int) -> None:
    heavier = dataclasses.replace(kernel, macs=kernel.macs + more)
    assert point(profile, heavier, threads=threads) >= point(profile, kernel, threads=threads)


@settings(deadline=None)
@given(profiles, kernels(), sizes, st.sampled_from(("input_bytes", "weight_bytes", "output_bytes")))
def test_more_bytes_are_never_faster(profile: Profile, kernel: Kernel, more: int, field: str) -> None:
    heavier = dataclasses.replace(kernel, **{field: getattr(kernel, field) + more})
    assert point(profile, heavier) >= point(profile, kernel) * (1 - 1e-12)


@settings(deadline=None)
@given(profiles, kernels(), st.data())
def test_more_threads_are_not_slower_up_to_the_logical_cores(
    profile: Profile, kernel: Kernel, data: st.DataObject
) -> None:
    cores = profile.processor.logical_cores
    few = data.draw(st.integers(1, cores))
    many = data.draw(st.integers(few, cores))
    assert point(profile, kernel, threads=many) <= point(profile, kernel, threads=few) * (1 + 1e-12)


@settings(deadline=None)
@given(profiles, kernels(), st.floats(0.1, 0.99), st.integers(1, 4))
def test_a_lower_clock_is_slower(profile: Profile, kernel: Kernel, share: float, threads: int) -> None:
    slow = share * profile.processor.max_frequency_hz
    assert point(profile, kernel, threads=threads, frequency_hz=slow) > point(
        profile, kernel, threads=threads
    )


@settings(deadline=None)
@given(profiles, kernels(), st.integers(2, 16))
def test_a_batch_costs_more_than_one_and_less_than_its_items(
    profile: Profile, kernel: Kernel, batch_size: int
) -> None:
    one, many = point(profile, kernel), point(profile, kernel, batch_size=batch_size)
    assert one * (1 - 1e-12) <= many
    light = dataclasses.replace(kernel, input_bytes=1000, output_bytes=1000)
    assert point(profile, light, batch_size=batch_size) < batch_size * point(profile, light)


@settings(deadline=None)
@given(profiles, st.lists(kernels(), min_size=1, max_size=5), st.integers(1, 8))
def test_the_interval_holds_the_point_and_the_kernels_add_up(
    profile: Profile, table: list[Kernel], threads: int
) -> None:
    prediction = predict_latency(profile, tuple(table), threads=threads)
    assert 0 < prediction.low_s < prediction.point_s < prediction.high_s
    assert prediction.interval_factor >= 1.5
    rest = prediction.point_s - sum(time.time_s for time in prediction.kernels)
    assert 0 <= rest <= profile.runtimes[0].overheads.inference_s * (1 + 1e-6)


def test_threads_beyond_the_cores_get_in_each_others_way(pi4: Profile, conv: Kernel) -> None:
    crowded = predict_latency(pi4, (conv,), threads=16)
    assert crowded.point_s > 2 * point(pi4, conv, threads=4)
    assert any("16 threads share 4" in note for note in crowded.notes)


def test_unaligned_channels_cost_more_than_they_save(nuc: Profile, conv: Kernel) -> None:
    pointwise = dataclasses.replace(conv, kernel_class="conv1x1")
    pruned = dataclasses.replace(pointwise, output_channels=62, macs=pointwise.macs * 62 // 64)
    aligned = dataclasses.replace(pointwise, output_channels=48, macs=pointwise.macs * 48 // 64)
    assert point(nuc, aligned) < point(nuc, pointwise) < point(nuc, pruned)


def test_what_spills_out_of_the_cache_is_paid_at_memory_speed(pi4: Profile) -> None:
    copy = Kernel(
        name="copy", kernel_class="layout", op_type="Transpose", precision="fp32", macs=0,
        input_bytes=250_000, weight_bytes=0, output_bytes=250_000,
    )  # fmt: skip
    large = dataclasses.replace(copy, input_bytes=25_000_000, output_bytes=25_000_000)
    overheads = pi4.runtimes[0].overheads
    fixed = overheads.inference_s + overheads.kernel_s
    assert point(pi4, large) - fixed > 130 * (point(pi4, copy) - fixed)
    bandwidth = pi4.bandwidth.one_core_bytes_per_s
    assert point(pi4, large) == pytest.approx(50e6 / bandwidth, rel=0.05)


def test_int8_is_faster_where_the_arithmetic_is_and_slower_on_tiny_models(
    pi4: Profile, pi5: Profile, nuc: Profile, conv: Kernel, as_int8: Callable[[Kernel, str], Kernel]
) -> None:
    tiny = dataclasses.replace(
        conv, macs=20_000, input_bytes=8_000, output_bytes=8_000, output_positions=100, weight_bytes=500
    )
    gains = {}
    for profile in (pi4, pi5, nuc):
        assert point(profile, as_int8(tiny, "U8S8")) > point(profile, tiny)
        gains[profile.name] = point(profile, conv) / point(profile, as_int8(conv, "U8S8"))
    assert 1.0 < gains["raspberry_pi_4"] < 1.6 < gains["raspberry_pi_5"] < gains["nuc11"]


def test_encodings_differ_as_measured_on_x86(
    nuc: Profile, architecture: Callable[[str, int, str], tuple[Kernel, ...]]
) -> None:
    fp32 = point(nuc, *architecture("resnet50", 224, "fp32"))
    int8 = architecture("resnet50", 224, "int8")

    def gain(encoding: str, op_type: str = "QLinearConv") -> float:
        table = [
            dataclasses.replace(k, encoding=encoding, op_type=op_type if k.macs else k.op_type)
            if k.precision == "int8"
            else k
            for k in int8
        ]
        return fp32 / point(nuc, *table)

    assert 2.5 < gain("U8S8") < 4.0
    assert 1.0 < gain("S8S8") < 1.6
    assert 1.0 < gain("U8U8") < 1.6
    assert gain("U8S8", "ConvInteger") < 1.1


def test_dynamic_int8_convolutions_lose_on_depthwise_networks(
    nuc: Profile, architecture: Callable[[str, int, str], tuple[Kernel, ...]]
) -> None:
    dynamic = [
        dataclasses.replace(k, op_type="ConvInteger")
        if "conv" in k.kernel_class or k.kernel_class == "depthwise"
        else k
        for k in architecture("mobilenet-v1-1.0", 224, "int8")
    ]
    assert point(nuc, *dynamic) > 1.2 * point(nuc, *architecture("mobilenet-v1-1.0", 224, "fp32"))


def ratio(row: dict[str, str], prediction: Prediction) -> float:
    # One published mean is spoilt by a single outlier of ten loops; the minimum is not.
    measured_ms = float(row["p50_ms"] or min(float(row["mean_ms"]), float(row["min_ms"] or math.inf)))
    return measured_ms / (prediction.point_s * 1e3)


@pytest.mark.parametrize("board", ["raspberry_pi_4", "raspberry_pi_5"])
def test_published_latencies_are_met(
    board: str, published: list[dict[str, str]], architecture: Callable[[str, int, str], tuple[Kernel, ...]]
) -> None:
    ratios: dict[str, list[float]] = {"same": [], "fp16": []}
    within = []
    for row in published:
        if row["board"] != board:
            continue
        # There is no fp16 arithmetic in this runtime: those rows can only be held against fp32.
        precision = "fp32" if row["precision"] == "fp16" else row["precision"]
        table = architecture(row["model"], int(row["input"]), precision)
        prediction = predict_latency(PROFILES[board], table, threads=int(row["threads"].strip("?")))
        ratios["fp16" if row["precision"] == "fp16" else "same"].append(found := ratio(row, prediction))
        within.append(1 / prediction.interval_factor <= found <= prediction.interval_factor)
    assert len(ratios["same"]) >= 8
    assert all(0.5 < found < 2.0 for found in ratios["same"])
    # Half precision does twice the arithmetic per cycle, with Winograd's transform on top.
    assert all(0.25 < found < 1.0 for found in ratios["fp16"])
    assert sum(within) / len(within) >= 0.9


def test_the_interval_is_that_of_the_precision(
    pi4: Profile, conv: Kernel, as_int8: Callable[[Kernel, str], Kernel]
) -> None:
    fp32 = predict_latency(pi4, (conv,), threads=1)
    mixed = predict_latency(pi4, (conv, as_int8(conv, "U8S8")), threads=1)
    assert (fp32.basis, fp32.precision) == ("transferred, unvalidated", "fp32")
    assert fp32.interval_factor == pi4.runtimes[0].interval("fp32").factor
    assert mixed.interval_factor == pi4.runtimes[0].interval("int8").factor > fp32.interval_factor
    assert any("unvalidated" in note for note in fp32.notes)


def test_nothing_to_predict_from_is_an_error(pi4: Profile, conv: Kernel) -> None:
    with pytest.raises(InvalidInputError, match="kernel table is empty"):
        predict_latency(pi4, (), threads=1)
    with pytest.raises(InvalidInputError, match="threads: found 0"):
        predict_latency(pi4, (conv,), threads=0)
    with pytest.raises(UnsupportedError, match="only for onnxruntime"):
        predict_latency(pi4, (conv,), threads=1, runtime="tflite")


def test_a_kernel_without_a_rate_is_refused_by_name(pi4: Profile, conv: Kernel) -> None:
    with pytest.raises(UnsupportedError, match=r"no rate of onnxruntime for Conv 'conv_0' .*int4"):
        predict_latency(pi4, (dataclasses.replace(conv, precision="int4"),), threads=1)


def test_kernels_known_by_their_bytes_alone_widen_the_interval(pi4: Profile, conv: Kernel) -> None:
    tree = dataclasses.replace(conv, kernel_class="other", op_type="TreeEnsembleClassifier", macs=0)
    prediction = predict_latency(pi4, (tree,), threads=1)
    assert prediction.interval_factor == 3 * pi4.runtimes[0].interval("fp32").factor
    assert any("bytes alone" in note for note in prediction.notes)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_class_has_a_rate_in_every_precision(name: str, conv: Kernel) -> None:
    for kernel_class in CLASSES + LIGHT:
        for precision in ("fp32", "fp16", "int8"):
            kernel = dataclasses.replace(conv, kernel_class=kernel_class, precision=precision)
            assert point(PROFILES[name], kernel) > 0


def test_groups_are_seen_in_the_arithmetic(conv: Kernel) -> None:
    pairs = conv.input_channels * conv.output_channels * conv.output_positions
    assert not grouped(dataclasses.replace(conv, macs=9 * pairs))
    assert grouped(dataclasses.replace(conv, macs=9 * pairs // 64))


def test_absorbed_operators_cost_nothing_behind_a_convolution_only(pi4: Profile, conv: Kernel) -> None:
    size = conv.output_bytes
    relu = Kernel(
        name="r", kernel_class="elementwise", op_type="Relu", precision="fp32", macs=0,
        input_bytes=size, weight_bytes=0, output_bytes=size,
    )  # fmt: skip
    bias = dataclasses.replace(relu, op_type="Add")
    assert follow_convolutions((relu, conv, relu, bias), ("Relu", "Add")) == {2}
    runtime = dataclasses.replace(pi4.runtimes[0], absorbed=("Relu",))
    board = dataclasses.replace(pi4, runtimes=(runtime,))
    assert point(board, conv, relu) == pytest.approx(point(board, conv))
    assert point(board, relu, conv) > point(board, conv)
    assert point(pi4, conv, relu) > point(pi4, conv)


def test_what_is_not_hidden_is_added(pi4: Profile, conv: Kernel) -> None:
    board = dataclasses.replace(pi4, caches=dataclasses.replace(pi4.caches, hidden_share=0.0))
    heavy = dataclasses.replace(conv, weight_bytes=8_000_000)
    (time,) = predict_latency(board, (heavy,), threads=1).kernels
    assert {"compute", "far"} <= time.terms.keys()
    assert sum(time.terms.values()) == pytest.approx(time.time_s)
    assert point(board, heavy) > point(pi4, heavy)
