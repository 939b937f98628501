"""Artifacts laid out for a job; what travels packed is made here, verified, and never longer than declared."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from edgeloop_agent.store import ContentStore
from edgeloop_agent.workspace import Workspace
from edgeloop_foundation.errors import BusyError, CorruptDataError, InvalidInputError
from edgeloop_foundation.packed import LITERAL, MAGIC, TABLE
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.convert import to_canonical_json
from edgeloop_protocol.types.artifact import Artifact, Expansion, FileEntry

from .conftest import digest

CONTENT = b"head" + bytes([5, 250] * 50_000) + b"tail"
PACKED = (
    MAGIC
    + struct.pack("<BQ", LITERAL, 4)
    + b"head"
    + struct.pack("<BQ", TABLE, 100_000)
    + bytes([5, 250]).ljust(16, b"\0")
    + bytes([0x01]) * 50_000
    + struct.pack("<BQ", LITERAL, 4)
    + b"tail"
)


def entry(name: str, data: bytes) -> FileEntry:
    return FileEntry(name=name, digest=digest(data), size_bytes=len(data))


def artifact(made: FileEntry, packed: bytes = PACKED) -> Artifact:
    return Artifact(
        format="onnx",
        label="packed",
        files=(entry("model.packed", packed),),
        expansions=(Expansion(made=made, source="model.packed"),),
        model_file=made.name,
        source_digest=made.digest,
    )


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    store = ContentStore(OsFileSystem(), tmp_path / "store", store_bytes=1 << 30, reserve_bytes=0)
    store.open()
    return store


def laid_out(store: ContentStore, tmp_path: Path, manifest: Artifact, reserve_bytes: int = 0) -> Path:
    workspace = Workspace(OsFileSystem(), tmp_path / "jobs", store, reserve_bytes=reserve_bytes)
    workspace.open()
    store.put(PACKED)
    name = store.put(to_canonical_json(manifest))
    workspace.require([name])
    return workspace.materialise("job", name)


def test_a_packed_model_is_made_whole_and_read_only(store: ContentStore, tmp_path: Path) -> None:
    manifest = artifact(entry("model.onnx", CONTENT))
    directory = laid_out(store, tmp_path, manifest)
    assert (directory / "model.onnx").read_bytes() == CONTENT
    assert not (directory / "model.onnx").stat().st_mode & 0o222
    # What travels is half of what the runtime opens.
    assert manifest.model_travel_bytes < 0.51 * manifest.model_size_bytes
    assert manifest.model_size_bytes == len(CONTENT)


def test_another_content_than_the_manifest_says_is_refused(store: ContentStore, tmp_path: Path) -> None:
    wrong = FileEntry(name="model.onnx", digest=digest(b"another"), size_bytes=len(CONTENT))
    with pytest.raises(CorruptDataError, match=r"model\.onnx made from model\.packed has the digest"):
        laid_out(store, tmp_path, artifact(wrong))


def test_more_than_was_declared_is_refused_before_it_fills_the_disk(
    store: ContentStore, tmp_path: Path
) -> None:
    short = FileEntry(name="model.onnx", digest=digest(CONTENT), size_bytes=1000)
    with pytest.raises(CorruptDataError, match="of 1000 declared"):
        laid_out(store, tmp_path, artifact(short))


def test_room_for_what_is_made_is_asked_for_first(store: ContentStore, tmp_path: Path) -> None:
    with pytest.raises(BusyError, match=f"needs {len(PACKED) + len(CONTENT)} bytes"):
        laid_out(store, tmp_path, artifact(entry("model.onnx", CONTENT)), reserve_bytes=1 << 60)


def test_a_manifest_may_not_make_its_own_name_or_another_s(store: ContentStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"names a file manifest\.json, which is its own"):
        laid_out(store, tmp_path, artifact(entry("manifest.json", CONTENT)))
    with pytest.raises(ValueError, match="each under a name of its own"):
        artifact(entry("model.packed", CONTENT))
