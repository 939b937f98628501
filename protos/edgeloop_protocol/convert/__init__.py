"""Values to and from their wire and JSON forms; the only room that touches a pb2 message's fields.

Law: imports ``types`` and the stubs. One generic walk over dataclass fields serves every value, because a
message has exactly the fields of its value (a test holds them against each other). The stubs are loaded when the
wire is first spoken: a runner speaks JSON alone, and starts once per round.
"""

import importlib
from typing import TYPE_CHECKING, Any

from edgeloop_protocol.convert.json import digest_of, from_json, to_canonical_json, to_json

if TYPE_CHECKING:
    from edgeloop_protocol.convert.wire import from_wire, run_wire_bytes, to_wire

__all__ = ["digest_of", "from_json", "from_wire", "run_wire_bytes", "to_canonical_json", "to_json", "to_wire"]

_WIRE = ("from_wire", "run_wire_bytes", "to_wire")


def __getattr__(name: str) -> Any:
    if name not in _WIRE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("edgeloop_protocol.convert.wire"), name)
