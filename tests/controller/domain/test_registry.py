from __future__ import annotations

import pytest
from edgeloop.domain.registry import ModelVersion, RegisteredModel, find_model
from edgeloop_foundation.errors import NotFoundError


def version(digest: str, *tags: str, runs: int = 0, failed: int = 0) -> ModelVersion:
    return ModelVersion(
        digest=digest * 64, number=1, label="l", format="onnx", precision="fp32", size_bytes=1, tags=tags,
        run_count=runs, error_count=failed,
    )  # fmt: skip


MODELS = (
    RegisteredModel(
        name="cat.onnx", source_digest="1" * 64, versions=(version("a", "prod", runs=3, failed=1),)
    ),
    RegisteredModel(
        name="dog.onnx", source_digest="2" * 64, versions=(version("b"), version("c", "old", runs=2))
    ),
    RegisteredModel(name="dog.onnx", source_digest="3" * 64, versions=(version("d"),)),
)


@pytest.mark.parametrize(
    ("word", "number"),
    [("cat.onnx", 0), ("prod", 0), ("old", 1), ("bbbbbb", 1), ("222222", 1), ("d" * 64, 2)],
)
def test_a_model_is_found_by_name_tag_or_digest(word: str, number: int) -> None:
    assert find_model(MODELS, word) is MODELS[number]


@pytest.mark.parametrize(
    ("word", "said"), [("dog.onnx", "several models"), ("cow", "no model"), ("aaaaa", "no model")]
)
def test_what_is_not_one_model_is_refused_with_those_that_are(word: str, said: str) -> None:
    with pytest.raises(NotFoundError, match=said) as error:
        find_model(MODELS, word)
    assert "dog.onnx (222222222222)" in error.value.next_step


def test_a_model_was_run_as_often_as_its_versions() -> None:
    assert [(m.run_count, m.error_count) for m in MODELS] == [(3, 1), (2, 0), (0, 0)]
