"""Channels to an agent and the options that every one of them has."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.within import within

__all__ = ["CLIENT_OPTIONS", "TlsFiles", "first_connection", "open_channel"]

# gRPC gives up an attempt after 20 s; over a link of 2 s each way TCP, TLS and HTTP/2 take 12 s of them.
_FIRST_CONNECTION_S = 20.0

# Only what reads: a Submit, an upload or an Acknowledge that is sent twice is decided by our own code.
_READ_ONLY = (
    {"service": "edgeloop.v1.DeviceService"},
    {"service": "edgeloop.v1.JobService", "method": "GetJob"},
    {"service": "edgeloop.v1.LeaseService", "method": "ListLeases"},
    {"service": "build.bazel.remote.execution.v2.ContentAddressableStorage", "method": "FindMissingBlobs"},
    {"service": "google.bytestream.ByteStream", "method": "QueryWriteStatus"},
    {"service": "grpc.health.v1.Health", "method": "Check"},
)

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": list(_READ_ONLY),
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

# M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD of <malloc.h>.
_MALLOPT = ((-3, 16 << 20), (-1, 64 << 20), (-2, 16 << 20))

CLIENT_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # An agent that restarts is back within a second or two; the default would wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Channels to one address share connections by default; a broken one must not reach a second client.
    ("grpc.use_local_subchannel_pool", 1),
)
"""Options of every channel; keepalive finds a peer that vanished within 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of mutual TLS."""

    #: Certificate authority that signed the agent's certificate.
    ca: Path
    #: Certificate of this controller, with its chain.
    certificate: Path
    #: Private key of that certificate.
    key: Path
    #: Name that the agent's certificate must carry; empty means the host of the address.
    server_name: str = ""
    #: Public keys that are revoked, SHA-256 in hexadecimal.
    revoked: frozenset[str] = frozenset()
    #: A time that has passed for certain, in seconds since 1970; a clock that shows less is wrong.
    time_floor_s: float = 0.0

    def read(self, path: Path) -> bytes:
        """Return the content of one of the files.

        Raises:
            InvalidInputError: it cannot be read.
        """
        try:
            return path.read_bytes()
        except OSError as error:
            raise InvalidInputError(
                f"TLS file {path} cannot be read: {error.strerror}.",
                next_step="Give tls_ca, tls_certificate and tls_key the paths of PEM files.",
            ) from error


@functools.cache
def _steady_heap() -> None:
    """Keep glibc from giving back, and asking for again, the pages of every message; elsewhere do nothing.

    Measured over loopback with 1 MiB chunks: 1.2 times the rate.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for parameter, size_bytes in _MALLOPT:
        mallopt(parameter, size_bytes)


def open_channel(address: str, tls: TlsFiles | None = None) -> grpc.aio.Channel:
    """Return a channel to ``address`` (``unix:/PATH`` or ``HOST:PORT``); it connects at the first call."""
    _steady_heap()
    if tls is None:
        return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=tls.read(tls.ca),
        private_key=tls.read(tls.key),
        certificate_chain=tls.read(tls.certificate),
    )
    options = CLIENT_OPTIONS
    if tls.server_name:
        options = (*options, ("grpc.ssl_target_name_override", tls.server_name))
    return grpc.aio.secure_channel(address, credentials, options=options)


async def first_connection(channel: grpc.aio.Channel) -> None:
    """Wait until the first attempt to connect has come to an end, good or bad.

    The deadline of the first call is then for the agent's answer, not for the round trips before it. What is wrong,
    that call says.
    """
    with contextlib.suppress(asyncio.TimeoutError):
        await within(_settled(channel), _FIRST_CONNECTION_S)


async def _settled(channel: grpc.aio.Channel) -> None:
    state = channel.get_state(try_to_connect=True)
    while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
        await channel.wait_for_state_change(state)
        state = channel.get_state()
