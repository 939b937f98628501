"""The agent as one file, assembled from the installed packages of this controller; the same bytes for the same code."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import MissingDependencyError

from edgeloop import __version__
from edgeloop.transport.bootstrap.wheels import Wheel

__all__ = ["Bundle", "agent_archive", "make_bundle"]

PACKAGES = ("edgeloop_agent", "edgeloop_foundation", "edgeloop_profiles", "edgeloop_protocol")
"""What runs on a device, and nothing of the controller."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_KINDS = (".py", ".toml", ".json", ".typed")
# Unpacked wheels and their compiled modules, as a multiple of what is sent; measured 4.4 with numpy and onnxruntime.
_ROOM_FACTOR = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Everything that one board gets."""

    #: Names its directory on the board: digest of the manifest.
    digest: str
    #: What the installer reads, canonical JSON.
    manifest: bytes
    #: The agent's own code, a zip that is unpacked like a wheel.
    archive: bytes
    wheels: tuple[Wheel, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes to send when the board has none of it."""
        return len(self.archive) + sum(wheel.size_bytes for wheel in self.wheels)

    @property
    def room_bytes(self) -> int:
        """Free disk that the board needs for it."""
        return self.size_bytes * _ROOM_FACTOR

    def files(self) -> tuple[tuple[str, Path | bytes, int], ...]:
        """Return digest, content and size of every file to send, the large ones last."""
        archive = (hashlib.sha256(self.archive).hexdigest(), self.archive, len(self.archive))
        manifest = (f"{self.digest}.json", self.manifest, len(self.manifest))
        wheels = sorted(self.wheels, key=lambda wheel: wheel.size_bytes)
        return (manifest, archive, *((wheel.digest, wheel.path, wheel.size_bytes) for wheel in wheels))


def agent_archive() -> bytes:
    """Return the agent's packages as a zip whose bytes depend on nothing but their content.

    Raises:
        MissingDependencyError: the agent is not installed beside this controller.
    """
    content: dict[str, bytes] = {f"edgeloop-{__version__}.dist-info/METADATA": _metadata()}
    for package in PACKAGES:
        # Looked up, not imported: controller and agent never import each other.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependencyError(
                f"the package {package}, which a board gets, is not installed here.",
                next_step="Install the whole distribution: pip install edgeloop",
            )
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in root.rglob("*"):
            if path.suffix in _KINDS and path.is_file() and "__pycache__" not in path.parts:
                content[f"{package}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    # Stored, not compressed: compressors of two machines differ, and a megabyte does not matter.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, content[name])
    return buffer.getvalue()


def _metadata() -> bytes:
    return f"Metadata-Version: 2.1\nName: edgeloop\nVersion: {__version__}\n".encode()


def make_bundle(wheels: tuple[Wheel, ...], *, python: str, system_packages: bool) -> Bundle:
    """Put a bundle together.

    Args:
        wheels: for the board.
        python: path of the interpreter there.
        system_packages: whether the agent sees the packages of the board's maker.
    """
    archive = agent_archive()
    tree = {
        "archive": hashlib.sha256(archive).hexdigest(),
        "python": python,
        "system_packages": system_packages,
        "wheels": [[wheel.name, wheel.digest] for wheel in wheels],
    }
    manifest = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
    return Bundle(
        digest=hashlib.sha256(manifest).hexdigest()[:24], manifest=manifest, archive=archive, wheels=wheels
    )
