"""The on-device daemon: leases, blobs, jobs and results of one board.

Law: imports the standard library, grpcio, protobuf and floor 0; never ``edgeloop``. The daemon's rooms
(everything but ``runner``) never import NumPy, ONNX, ONNX Runtime, cryptography or SQLite: what needs them
runs in a process of its own. Disk work happens in threads, everything else on one asyncio loop.
"""

from __future__ import annotations

__all__ = ["__version__"]


def _read_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("edgeloop")
    except PackageNotFoundError:
        # An agent bundle pushed to a board is a plain directory without package metadata.
        return "0.1.0"


__version__ = _read_version()
