"""Values survive the wire and JSON whole, and nothing hostile gets in."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import sys
from typing import Any

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import digest_of, from_json, from_wire, to_canonical_json, to_json, to_wire
from edgeloop_protocol.convert.shape import fields_of
from edgeloop_protocol.convert.wire import _enum_prefix
from edgeloop_protocol.types.artifact import Artifact, FileEntry, Tolerance
from edgeloop_protocol.types.job import Job, JobState
from edgeloop_protocol.types.measurement import Estimate, Reading
from edgeloop_protocol.types.run import Isolation, Placement
from edgeloop_protocol.types.trial import Benchmark, JobSpec, RuntimeSettings, Trial
from edgeloop_protocol.v1 import (
    conditions_pb2,
    device_pb2,
    job_pb2,
    lease_pb2,
    load_pb2,
    measurement_pb2,
    run_pb2,
    telemetry_pb2,
    trial_pb2,
)
from edgeloop_protocol.wire_format import encode_varint
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import strategies

_MODULES = (
    *(
        conditions_pb2,
        device_pb2,
        job_pb2,
        lease_pb2,
        load_pb2,
        measurement_pb2,
        run_pb2,
        telemetry_pb2,
        trial_pb2,
    ),
)
_BY_FILE_ONLY = {"Artifact", "Expansion", "FileEntry", "Kernel", "StateBinding", "TensorSpec", "Tolerance"}
"""Values that travel as canonical JSON in a blob, not as a message."""

_CLASSES = strategies.all_classes()
_TRAVELLING = [cls for cls in _CLASSES if cls.__name__ not in _BY_FILE_ONLY]
_SCALAR_TYPES = {
    str: FieldDescriptor.TYPE_STRING,
    int: FieldDescriptor.TYPE_INT64,
    float: FieldDescriptor.TYPE_DOUBLE,
    bool: FieldDescriptor.TYPE_BOOL,
}


def message_class(cls: type) -> Any:
    return next(getattr(module, cls.__name__) for module in _MODULES if hasattr(module, cls.__name__))


def names(classes: list[type]) -> list[str]:
    return [cls.__name__ for cls in classes]


def test_every_value_class_is_covered() -> None:
    assert set(names(_CLASSES)) > _BY_FILE_ONLY
    assert len(_TRAVELLING) > 30


@pytest.mark.parametrize("cls", _TRAVELLING, ids=names(_TRAVELLING))
def test_a_message_has_exactly_the_fields_of_its_value(cls: type) -> None:
    descriptor = message_class(cls).DESCRIPTOR
    assert list(descriptor.fields_by_name) == [field.name for field in fields_of(cls)]
    for shape in fields_of(cls):
        wire = descriptor.fields_by_name[shape.name]
        is_map = bool(wire.message_type and wire.message_type.GetOptions().map_entry)
        assert is_map == shape.mapping, shape.name
        element = wire.message_type.fields_by_name["value"] if is_map else wire
        if not is_map:
            repeated = getattr(wire, "is_repeated", None)
            repeated = wire.label == FieldDescriptor.LABEL_REPEATED if repeated is None else repeated
            assert repeated == shape.repeated, shape.name
        if shape.is_value:
            assert element.message_type.name == shape.kind.__name__
        elif shape.is_enum:
            assert element.enum_type.name == shape.kind.__name__
        else:
            assert element.type == _SCALAR_TYPES[shape.kind], shape.name
            if not shape.repeated and not shape.mapping:
                assert wire.has_presence == shape.optional, shape.name


def _enums() -> list[type[enum.Enum]]:
    return sorted(
        {f.kind for cls in _CLASSES for f in fields_of(cls) if f.is_enum}, key=lambda kind: kind.__name__
    )


@pytest.mark.parametrize("kind", _enums(), ids=lambda kind: kind.__name__)
def test_an_enumeration_has_exactly_the_members_of_the_wire(kind: type[enum.Enum]) -> None:
    wire = next(getattr(module, kind.__name__) for module in _MODULES if hasattr(module, kind.__name__))
    prefix = _enum_prefix(kind)
    assert set(wire.keys()) == {prefix + member.name for member in kind} | {prefix + "UNSPECIFIED"}
    assert wire.Value(prefix + "UNSPECIFIED") == 0


@pytest.mark.parametrize("cls", _TRAVELLING, ids=names(_TRAVELLING))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_round_trip_over_the_wire(cls: type, data: st.DataObject) -> None:
    value = data.draw(strategies.values(cls))
    received = message_class(cls).FromString(to_wire(value, message_class(cls)()).SerializeToString())
    assert from_wire(received, cls) == value


@pytest.mark.parametrize("cls", _CLASSES, ids=names(_CLASSES))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_round_trip_through_json(cls: type, data: st.DataObject) -> None:
    value = data.draw(strategies.values(cls))
    canonical = to_canonical_json(value)
    assert from_json(canonical, cls) == from_json(json.dumps(to_json(value)), cls) == value
    assert to_canonical_json(from_json(canonical, cls)) == canonical


def test_canonical_json_has_one_form() -> None:
    assert to_canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    assert digest_of(Reading(name="a", unit="s", value=1.0)) == digest_of(
        Reading(unit="s", value=1.0, name="a")
    )


def test_a_map_keeps_its_order_outside_the_canonical_form() -> None:
    placement = Placement(nodes_per_provider=(("z", 2), ("a", 1)))
    assert from_json(json.dumps(to_json(placement)), Placement) == placement


def test_numbers_that_json_lacks_travel_as_words() -> None:
    reading = to_json(Reading(name="a", unit="s", value=math.inf))
    assert reading["value"] == "inf"
    assert from_json(reading, Reading).value == math.inf
    assert math.isnan(from_json(to_json(Reading(name="a", unit="s", value=math.nan)), Reading).value or 0.0)


def test_fields_of_a_newer_version_are_passed_over() -> None:
    tree = to_json(Reading(name="a", unit="s", value=1.0))
    assert from_json({**tree, "added_later": [1, 2]}, Reading) == Reading(name="a", unit="s", value=1.0)


def test_absent_fields_take_their_defaults() -> None:
    assert from_json({"name": "a", "unit": "s", "reason": "off"}, Reading).source == ""
    assert from_json({}, Benchmark) == Benchmark()


_JOB = to_json(Job(job_id="j", request_id="r", state=JobState.RUNNING))
_HOSTILE_TREES: list[tuple[type, Any, str]] = [
    (Job, {**_JOB, "state": "dancing"}, "dancing"),
    (Job, {**_JOB, "state": None}, "None"),
    (Job, {**_JOB, "state": []}, "Job"),
    (Job, {k: v for k, v in _JOB.items() if k != "job_id"}, "lacks 'job_id'"),
    (Job, {**_JOB, "job_id": 5}, "job_id is str"),
    (Job, {**_JOB, "job_id": None}, "job_id is str"),
    (Job, {**_JOB, "last_sequence": "5"}, "last_sequence is int"),
    (Job, {**_JOB, "last_sequence": True}, "last_sequence is int"),
    (Job, {**_JOB, "last_sequence": 1.5}, "last_sequence is int"),
    (Job, [], "JSON object"),
    (Job, None, "JSON object"),
    (Reading, {"name": "a", "unit": "s", "value": "12"}, "value is float"),
    (Reading, {"name": "a", "unit": "s", "value": True}, "value is float"),
    (Reading, {"name": "a", "unit": "s", "value": 10**400}, "Reading"),
    (Benchmark, {"rounds": 0}, "rounds"),
    (Benchmark, {"measure_latency": 1}, "measure_latency is bool"),
    (RuntimeSettings, {"providers": "CPU"}, "providers is a list"),
    (RuntimeSettings, {"providers": [["CPU"]]}, "providers is str"),
    (Isolation, {"tier": "a", "layers": []}, "layers is an object"),
    (Isolation, {"tier": "a", "layers": {"x": "yes"}}, "layers is bool"),
    (Estimate, {}, "either a value or a reason"),
    (Estimate, {"value": 1.0, "low": 2.0, "high": 3.0}, "outside its interval"),
    (FileEntry, {"name": "../x", "digest": "0" * 64, "size_bytes": 1}, "file name"),
    (FileEntry, {"name": "x\n", "digest": "0" * 64, "size_bytes": 1}, "file name"),
    (FileEntry, {"name": "x", "digest": "0" * 64 + "\n", "size_bytes": 1}, "digest"),
    (FileEntry, {"name": "x", "digest": "0" * 64, "size_bytes": -1}, "negative"),
    (
        Artifact,
        {"format": "onnx", "label": "a", "source_digest": "", "files": [], "model_file": "m"},
        "files",
    ),
    (Tolerance, {"name": 1, "absolute": 0, "relative": 0, "flip_rate_max": 0}, "name is str"),
]


@pytest.mark.parametrize(("cls", "tree", "message"), _HOSTILE_TREES)
def test_hostile_trees_are_invalid_input(cls: type, tree: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        from_json(tree, cls)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff\xfe", "[" * 200_000, '{"a":' * 100_000, "1" * 10_000, "null", '"x"', b"\x00"],
    ids=lambda text: repr(text[:6]),
)
def test_hostile_texts_are_invalid_input(text: str | bytes) -> None:
    with pytest.raises(InvalidInputError):
        from_json(text, Job)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_CLASSES), st.data())
def test_any_json_in_any_field_is_a_value_or_invalid_input(cls: type, data: st.DataObject) -> None:
    tree = {field.name: data.draw(_JSON) for field in fields_of(cls) if data.draw(st.booleans())}
    with contextlib.suppress(InvalidInputError):
        assert isinstance(from_json(tree, cls), cls)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_TRAVELLING), st.binary(max_size=60))
def test_any_message_is_a_value_or_invalid_input(cls: type, data: bytes) -> None:
    message = message_class(cls)()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return
    with contextlib.suppress(InvalidInputError):
        assert isinstance(from_wire(message, cls), cls)


def test_unknown_and_unset_enumerators_are_refused() -> None:
    for number in (0, 999, -1):
        message = job_pb2.Job(job_id="j", request_id="r")
        message.ParseFromString(message.SerializeToString() + b"\x18" + encode_varint(number & (1 << 64) - 1))
        with pytest.raises(InvalidInputError, match=f"unknown value {number}"):
            from_wire(message, Job)


def test_a_missing_part_is_named() -> None:
    message = trial_pb2.JobSpec(request_id="r", lease_id="l", trials=[trial_pb2.Trial(trial_id="t")])
    with pytest.raises(InvalidInputError, match=r"Trial\.settings is missing"):
        from_wire(message, JobSpec)


def test_what_the_wire_cannot_carry_is_invalid_input() -> None:
    with pytest.raises(InvalidInputError, match=r"Benchmark\.seed cannot travel"):
        to_wire(Benchmark(seed=2**70), trial_pb2.Benchmark())
    trial = Trial(trial_id="t", label="\ud800", artifact_digest="d")
    with pytest.raises(InvalidInputError, match=r"Trial\.label cannot travel"):
        to_wire(trial, trial_pb2.Trial())


def test_values_are_frozen() -> None:
    for cls in _CLASSES:
        parameters = cls.__dataclass_params__  # type: ignore[attr-defined]
        assert parameters.frozen, cls
        assert not hasattr(cls, "__dict__") or "__slots__" in vars(cls), cls


def test_json_of_any_value_keeps_free_settings() -> None:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Free:
        settings: tuple[tuple[str, Any], ...] = ()

    sys.modules[__name__].__dict__["Free"] = Free
    value = Free(settings=(("b", [1, "x", None]), ("a", 0.5)))
    assert from_json(json.dumps(to_json(value)), Free) == value
