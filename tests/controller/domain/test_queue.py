"""What may follow what in the queue, and what a submission may not hold."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import ExperimentRequest
from edgeloop.domain.queue import (
    QUEUE_ENDS,
    TRANSITIONS,
    QueueEvent,
    QueueState,
    Submission,
    SubmittedFile,
    next_state,
)
from edgeloop.domain.recipe import PassSpec, Recipe
from edgeloop_foundation.errors import InvalidInputError, StateError
from edgeloop_protocol.convert import from_json, to_canonical_json

DIGEST = "a" * 64
REQUEST = ExperimentRequest(model="model/m.onnx", data="data/d.npz?labels=y", devices=())


def submission(**changes: Any) -> Submission:
    files = tuple(SubmittedFile(path=path, digest=DIGEST) for path in ("model/m.onnx", "data/d.npz"))
    return Submission(**{"request": REQUEST, "files": files, "on": ("sim:nuc11",), **changes})


def test_the_table_has_no_way_out_of_an_end_and_one_into_each() -> None:
    assert all(state not in QUEUE_ENDS for state, _ in TRANSITIONS)
    assert set(TRANSITIONS.values()) == set(QueueState)
    for state, event in product(QueueState, QueueEvent):
        if (state, event) in TRANSITIONS:
            assert next_state(state, event) is TRANSITIONS[(state, event)]
        else:
            with pytest.raises(StateError, match=state.value):
                next_state(state, event)
    for state in set(QueueState) - QUEUE_ENDS:
        assert next_state(state, QueueEvent.CANCEL) is QueueState.CANCELLED


def test_a_submission_comes_back_from_its_text() -> None:
    whole = submission(priority=3, wait_s=5.0)
    assert from_json(to_canonical_json(whole), Submission) == whole


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../m.onnx", "model/../../x", "a//b", "a/", "model/.hidden", "-rf", "a\\b", "a:b", "a?b",
        "a\nb", "a\u202eb", "a\x00b", "con /x", "x.", "~/x", "$(id)", "x" * 401,
    ],
)  # fmt: skip
def test_hostile_names_are_refused(path: str) -> None:
    with pytest.raises(InvalidInputError):
        SubmittedFile(path=path, digest=DIGEST)


@pytest.mark.parametrize(
    "path", ["m.onnx", "data/Größe 1/a-b (2).png", "data/0/x_1.wav", "w/model.onnx.data"]
)
def test_ordinary_names_are_taken(path: str) -> None:
    assert SubmittedFile(path=path, digest=DIGEST).path == path


@pytest.mark.parametrize("digest", ["", "A" * 64, "a" * 63, "../" + "a" * 61])
def test_a_digest_is_one(digest: str) -> None:
    with pytest.raises(InvalidInputError, match="digest"):
        SubmittedFile(path="m.onnx", digest=digest)


def recipe(name: str, **settings: Any) -> tuple[Recipe, ...]:
    return (Recipe(label="mine", passes=(PassSpec.of(name, **settings),)),)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "evil.py:model"}, "the model .* is a function"),
        ({"model": "os:getcwd"}, "the model .* is a function"),
        ({"data": "evil.py:data"}, "the data .* is a function"),
        ({"data": "data/evil.py:data?labels=y"}, "the data .* is a function"),
        ({"data": "package.module:data"}, "the data .* is a function"),
        ({"model": "/etc/passwd"}, "not among the files"),
        ({"data": "/etc/passwd"}, "not among the files"),
        ({"data": "data/d.np"}, "not among the files"),
        ({"recipes": recipe("finetune", train="x.py:train")}, "train names code"),
        ({"recipes": recipe("distill", teacher="teacher.onnx")}, "teacher names code"),
        ({"recipes": recipe("a_plugin", hook=["x", ["os:system"]])}, "hook names code"),
        ({"devices": (DeviceSpec.parse("local"),)}, "by the words"),
        ({"budget_s": float("inf")}, "numbers of seconds"),
        ({"lease_wait_s": float("nan")}, "numbers of seconds"),
    ],
)
def test_nothing_that_is_handed_in_names_code_or_other_files(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        submission(request=replace(REQUEST, **changes))


def test_recipes_of_plain_settings_are_taken() -> None:
    given = recipe("quantize_static", encoding="U8S8", exclude=["/model/conv/Conv"])
    assert submission(request=replace(REQUEST, recipes=given)).request.recipes == given


def test_a_folder_of_data_is_named_by_what_its_files_begin_with() -> None:
    files = tuple(SubmittedFile(path=path, digest=DIGEST) for path in ("model/m.onnx", "data/set/0/a.png"))
    assert submission(files=files, request=replace(REQUEST, data="data/set")).request.data == "data/set"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"on": ()}, "no device"),
        ({"on": (" ",)}, "no device"),
        ({"priority": 101}, "priority"),
        ({"wait_s": -1.0}, "wait"),
        ({"files": (SubmittedFile(path="model/m.onnx", digest=DIGEST),) * 2}, "same path"),
    ],
)
def test_what_else_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        submission(**changes)
