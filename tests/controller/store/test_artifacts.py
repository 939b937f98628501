from __future__ import annotations

import errno
import hashlib
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop_foundation.errors import BusyError, CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import OsFileSystem, WritableFile
from edgeloop_protocol.convert import digest_of, from_json
from edgeloop_protocol.types.artifact import Artifact, FileEntry


class Ticking:
    """A clock whose every reading is one second later."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic_ns(self) -> int:
        return int(self.wall_s() * 1e9)

    def wall_s(self) -> float:
        self.now += 1.0
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class _Filling:
    def __init__(self, file: WritableFile, disk: FullDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: bytes) -> None:
        self._disk.left -= len(data)
        if self._disk.left < 0:
            self._file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        self._file.write(data)

    def sync(self) -> None:
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


class FullDisk(OsFileSystem):
    """The real file system with room for ``left`` more bytes."""

    def __init__(self, left: int) -> None:
        self.left = left

    def create(self, path: Path) -> WritableFile:
        return _Filling(super().create(path), self)


def build(folder: Path, label: str = "original", size: int = 3000) -> tuple[Artifact, dict[str, Path]]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {"model.onnx": label.encode() * size, "golden.npz": b"golden" * 10}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    entries = tuple(
        FileEntry(name=name, digest=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
        for name, content in sorted(files.items())
    )
    manifest = Artifact(
        format="onnx",
        label=label,
        files=entries,
        model_file="model.onnx",
        golden_file="golden.npz",
        source_digest="0" * 64,
    )
    return manifest, {name: folder / name for name in files}


def test_an_artifact_comes_back_whole(tmp_path: Path) -> None:
    manifest, files = build(tmp_path / "in")
    store = ArtifactDirectory(tmp_path / "store")
    digest = store.put(manifest, files)
    assert digest == digest_of(manifest) == store.put(manifest, files)

    again = ArtifactDirectory(tmp_path / "store")
    assert again.manifest(digest) == manifest
    directory = again.directory(digest)
    assert directory == again.directory(digest)
    assert sorted(p.name for p in directory.iterdir()) == ["golden.npz", "manifest.json", "model.onnx"]
    assert (directory / "model.onnx").read_bytes() == files["model.onnx"].read_bytes()
    assert from_json((directory / "manifest.json").read_bytes(), Artifact) == manifest
    assert again.blob(digest).read_bytes() == (directory / "manifest.json").read_bytes()
    for entry in manifest.files:
        assert again.blob(entry.digest).read_bytes() == files[entry.name].read_bytes()
        assert stat.S_IMODE(again.blob(entry.digest).stat().st_mode) == 0o444


def test_equal_files_are_kept_once(tmp_path: Path) -> None:
    store = ArtifactDirectory(tmp_path / "store")
    first = store.put(*build(tmp_path / "a", "first"))
    second = store.put(*build(tmp_path / "b", "second"))
    assert len(list((tmp_path / "store" / "blobs").iterdir())) == 5
    store.directory(first)
    assert store.directory(second).joinpath("golden.npz").stat().st_nlink == 3


def test_digests_are_oldest_first(tmp_path: Path) -> None:
    clock = Ticking()
    store = ArtifactDirectory(tmp_path / "store", clock=clock)
    put = [store.put(*build(tmp_path / str(i), f"artifact {i}")) for i in range(6)]
    assert store.digests() == tuple(put)
    assert store.find(put[2][:10]) == put[2]
    with pytest.raises(NotFoundError, match=put[5][:12]):
        store.find("zz")


def test_wrong_content_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    manifest, files = build(tmp_path / "in")
    files["model.onnx"].write_bytes(b"something else")
    store = ArtifactDirectory(tmp_path / "store")
    with pytest.raises(CorruptDataError, match=r"model\.onnx has the digest"):
        store.put(manifest, files)
    assert list((tmp_path / "store" / "blobs").iterdir()) == []
    assert store.digests() == ()


def test_files_are_those_of_the_manifest(tmp_path: Path) -> None:
    manifest, files = build(tmp_path / "in")
    with pytest.raises(InvalidInputError, match=r"golden\.npz"):
        ArtifactDirectory(tmp_path / "store").put(manifest, {"model.onnx": files["model.onnx"]})


@pytest.mark.parametrize("left", [10, 100, 20_000, 24_100, 24_500])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, left: int) -> None:
    manifest, files = build(tmp_path / "in")
    disk = FullDisk(left)
    store = ArtifactDirectory(tmp_path / "store", disk)
    with pytest.raises(BusyError, match="no space left to store artifact 'original'"):
        store.put(manifest, files)
    assert store.digests() == ()
    kept = [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert all(hashlib.sha256(p.read_bytes()).hexdigest() == p.name for p in kept)
    disk.left = 1 << 30
    assert store.manifest(store.put(manifest, files)) == manifest


def test_a_full_disk_while_files_get_their_names(tmp_path: Path) -> None:
    class NoLinks(FullDisk):
        """Room for the blobs, none for a copy."""

        def make_directory(self, path: Path) -> None:
            super().make_directory(path)
            if path.parent.name == "artifacts":
                raise OSError(errno.ENOSPC, "No space left on device")

    store = ArtifactDirectory(tmp_path / "store", NoLinks(1 << 30))
    digest = store.put(*build(tmp_path / "in"))
    with pytest.raises(BusyError):
        store.directory(digest)
    assert not [p for p in (tmp_path / "store" / "artifacts").rglob("*") if p.is_file()]
    assert len(list(ArtifactDirectory(tmp_path / "store").directory(digest).iterdir())) == 3


def test_corrupt_content_is_found_and_can_be_replaced(tmp_path: Path) -> None:
    manifest, files = build(tmp_path / "in")
    store = ArtifactDirectory(tmp_path / "store")
    digest = store.put(manifest, files)
    path = store.blob(manifest.files[1].digest)
    path.chmod(0o600)
    path.write_bytes(b"rotten")
    fresh = ArtifactDirectory(tmp_path / "store")
    with pytest.raises(CorruptDataError, match="Remove that file"):
        fresh.directory(digest)
    path.unlink()
    with pytest.raises(NotFoundError):
        fresh.directory(digest)
    assert fresh.put(manifest, files) == digest
    assert (fresh.directory(digest) / "model.onnx").read_bytes() == files["model.onnx"].read_bytes()


def test_unknown_digests_are_not_found(tmp_path: Path) -> None:
    store = ArtifactDirectory(tmp_path / "store")
    known = store.put(*build(tmp_path / "in"))
    for digest in ("0" * 64, "../index", ""):
        with pytest.raises(NotFoundError):
            store.blob(digest)
        with pytest.raises(NotFoundError, match=known[:12]):
            store.manifest(digest)


def test_leftovers_of_dead_processes_are_swept(tmp_path: Path) -> None:
    blobs = tmp_path / "store" / "blobs"
    blobs.mkdir(parents=True)
    dead, alive = blobs / f".{'0' * 64}.4194304.ab12.tmp", blobs / f".{'0' * 64}.1.ab12.tmp"
    dead.write_bytes(b"half")
    alive.write_bytes(b"half")
    ArtifactDirectory(tmp_path / "store").put(*build(tmp_path / "in"))
    assert not dead.exists()
    assert alive.exists()


def test_manifests_differ_by_label(tmp_path: Path) -> None:
    manifest, files = build(tmp_path / "in")
    store = ArtifactDirectory(tmp_path / "store")
    assert store.put(manifest, files) != store.put(replace(manifest, label="other"), files)


def test_the_chunks_of_a_file_are_cut_once_and_cut_again_when_their_list_is_damaged(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    (tmp_path / "m.bin").write_bytes(data)
    entry = FileEntry(name="m.bin", digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    manifest = Artifact(
        format="onnx", label="m", files=(entry,), model_file="m.bin", source_digest=entry.digest
    )
    ArtifactDirectory(tmp_path / "store").put(manifest, {"m.bin": tmp_path / "m.bin"})
    (path,) = (tmp_path / "store" / "chunks-1").iterdir()
    kept = path.read_bytes()
    store = ArtifactDirectory(tmp_path / "store")
    chunks = store.chunks(entry.digest)
    assert sum(chunk.size_bytes for chunk in chunks) == len(data)
    place = 0
    for chunk in chunks:
        piece = data[place : place + chunk.size_bytes]
        assert hashlib.sha256(piece).digest() == chunk.digest
        place += chunk.size_bytes
    path.write_bytes(kept[:-7])
    assert store.chunks(entry.digest) == chunks
    assert path.read_bytes() == kept
    with pytest.raises(NotFoundError):
        store.chunks("0" * 64)
