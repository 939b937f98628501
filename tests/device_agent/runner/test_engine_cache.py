"""Engines are used again for exactly what they were built from and on."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.inventory import runner_environment
from edgeloop_agent.runner.engine_cache import (
    ENGINE_CACHE,
    EngineIdentity,
    cache_directory,
    find,
    keep,
    key_of,
)

IDENTITY = EngineIdentity(
    file_digests=(("model.onnx", "a" * 64), ("weights.bin", "b" * 64)),
    model_file="model.onnx",
    runtime_version="10.3.0",
    gpu_name="Orin",
    compute_capability="8.7",
    driver_version="CUDA 12060 nvidia 540.4.0",
    precision="fp16",
    shapes=(("x", (1, 16), (8, 16), (8, 16)),),
    options=(("workspace_mib", "1024"),),
)

OTHERS: dict[str, Any] = {
    "file_digests": (("model.onnx", "a" * 64), ("weights.bin", "c" * 64)),
    "model_file": "other.onnx",
    "runtime_version": "10.3.1",
    "gpu_name": "Xavier",
    "compute_capability": "7.2",
    "driver_version": "CUDA 12060 nvidia 540.5.0",
    "precision": "fp32",
    "shapes": (("x", (1, 16), (4, 16), (8, 16)),),
    "options": (("workspace_mib", "512"),),
}


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    assert (
        find(tmp_path / "c", IDENTITY).reason == "no engine has been built for this model on this device yet"
    )
    assert keep(tmp_path / "c", IDENTITY, b"engine", 12.5) == ""
    found = find(tmp_path / "c", IDENTITY)
    assert (found.content, found.build_s, found.reason) == (b"engine", 12.5, "")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        f"{key_of(IDENTITY)}.engine",
        f"{key_of(IDENTITY)}.json",
    ]


def test_every_fact_is_part_of_the_key() -> None:
    assert set(OTHERS) == {field.name for field in fields(EngineIdentity)}
    keys = {key_of(replace(IDENTITY, **{name: value})) for name, value in OTHERS.items()}
    assert len(keys | {key_of(IDENTITY)}) == len(OTHERS) + 1
    assert key_of(IDENTITY) == key_of(replace(IDENTITY))


@pytest.mark.parametrize("name", OTHERS)
def test_another_fact_finds_no_engine(name: str, tmp_path: Path) -> None:
    keep(tmp_path, IDENTITY, b"engine", 1.0)
    assert find(tmp_path, replace(IDENTITY, **{name: OTHERS[name]})).content is None


@pytest.mark.parametrize("name", OTHERS)
def test_facts_that_do_not_match_their_name_are_not_believed(name: str, tmp_path: Path) -> None:
    """A file that was renamed or edited: its name says one thing, its facts another."""
    other = replace(IDENTITY, **{name: OTHERS[name]})
    keep(tmp_path, other, b"engine", 1.0)
    for suffix in ("engine", "json"):
        (tmp_path / f"{key_of(other)}.{suffix}").rename(tmp_path / f"{key_of(IDENTITY)}.{suffix}")
    found = find(tmp_path, IDENTITY)
    assert (found.content, found.reason) == (None, "the kept engine was built from or for something else")


def edit(directory: Path, **changes: Any) -> None:
    path = directory / f"{key_of(IDENTITY)}.json"
    recorded = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in recorded.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 2}, "another layout"),
        ({"identity": None}, "something else"),
        ({"engine_digest": "0" * 64}, "content has changed"),
        ({"build_s": None}, "time of building"),
        ({"build_s": 0}, "time of building"),
        ({"build_s": True}, "time of building"),
    ],
)
def test_changed_facts_are_not_believed(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    keep(tmp_path, IDENTITY, b"engine", 1.0)
    edit(tmp_path, **changes)
    found = find(tmp_path, IDENTITY)
    assert found.content is None
    assert told in found.reason


@pytest.mark.parametrize("content", [b"engine and more", b"engin", b""])
def test_a_changed_engine_is_built_anew(content: bytes, tmp_path: Path) -> None:
    keep(tmp_path, IDENTITY, b"engine", 1.0)
    (tmp_path / f"{key_of(IDENTITY)}.engine").write_bytes(content)
    assert find(tmp_path, IDENTITY).reason == "the kept engine's content has changed"
    assert keep(tmp_path, IDENTITY, b"engine", 2.0) == ""
    assert find(tmp_path, IDENTITY).build_s == 2.0


@pytest.mark.parametrize("content", [b"", b"[]", b"no json", b"\xff"])
def test_facts_that_cannot_be_read_are_a_reason(content: bytes, tmp_path: Path) -> None:
    keep(tmp_path, IDENTITY, b"engine", 1.0)
    (tmp_path / f"{key_of(IDENTITY)}.json").write_bytes(content)
    found = find(tmp_path, IDENTITY)
    assert found.content is None
    assert found.reason.startswith("the kept engine")


def test_half_of_an_engine_is_none(tmp_path: Path) -> None:
    keep(tmp_path, IDENTITY, b"engine", 1.0)
    (tmp_path / f"{key_of(IDENTITY)}.json").unlink()
    assert find(tmp_path, IDENTITY).content is None


def test_a_directory_that_cannot_be_written_costs_the_engine_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = keep(tmp_path / "file" / "cache", IDENTITY, b"engine", 1.0)
    assert told.startswith("the engine could not be kept: ")
    assert str(tmp_path) not in told


def test_an_identity_is_complete_or_none() -> None:
    with pytest.raises(ValueError, match="driver_version"):
        replace(IDENTITY, driver_version="")
    assert replace(IDENTITY, options=()).options == ()


def test_without_a_directory_the_scratch_is_used_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_directory({ENGINE_CACHE: "/var/cache/engines"}, tmp_path) == (Path("/var/cache/engines"), "")
    where, note = cache_directory({}, tmp_path)
    assert where == tmp_path / "engines"
    assert note == "EDGELOOP_ENGINE_CACHE is not set: the engine is built anew for every process"
    monkeypatch.setenv(ENGINE_CACHE, "/var/cache/engines")
    assert runner_environment()[ENGINE_CACHE] == "/var/cache/engines"
