"""The on-device daemon: leases, blobs, jobs and results of one board.

Law: imports the standard library, grpcio, protobuf and floor 0; never ``edgeloop``. The daemon's rooms
(everything but ``runner``) never import NumPy, ONNX, ONNX Runtime, cryptography or SQLite: what needs them
runs in a process of its own. Disk work happens in threads, everything else on one asyncio loop.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["__version__"]


def _read_version() -> str:
    # The name of the metadata directory tells it; importlib.metadata would cost the daemon 3 MB of memory.
    for directory in sys.path:
        for metadata in Path(directory).glob("edgeloop-*.dist-info"):
            return metadata.name.removeprefix("edgeloop-").removesuffix(".dist-info")
    # An agent bundle pushed to a board is a plain directory without package metadata.
    return "0.1.0"


__version__ = _read_version()
