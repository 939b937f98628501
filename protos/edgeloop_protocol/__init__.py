"""What controller and agent say to each other: frozen values, their wire form and the status table.

Law: imports the foundation, grpcio and protobuf only; no decisions, no I/O. Only ``convert`` sees a pb2
message.
"""

PROTOCOL_VERSION = 1
"""Raised when an old peer can no longer understand a new one; additions raise nothing."""

CAPABILITIES = (
    "blobs",
    "leases",
    "jobs",
    "spool",
    "interleaved-trials",
    "node-times",
    "parity",
    "identity",
    "chunks",
)
"""What this side can do beyond the bare protocol version; the intersection is what a pair may use."""
