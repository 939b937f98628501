"""Holds a device for a verb: who asks, how long they wait, what people are told meanwhile."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
from typing import TYPE_CHECKING

from edgeloop_protocol.types.lease import Lease

from edgeloop.domain.experiment import Listener

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.transport.client import AgentClient
    from edgeloop.transport.rpc.lease import LeaseHandle

__all__ = ["holder_name", "lease_wait_s", "leased"]

_WAIT_S = 30.0


def holder_name() -> str:
    """Return who asks for a lease, for people: user, host and process, and the CI job where there is one."""
    build = os.environ.get("GITHUB_RUN_ID") or os.environ.get("CI_JOB_ID") or ""
    suffix = f" (CI {build})" if build else ""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"  # a container may run under a number without a name
    return f"{user}@{platform.node()} pid {os.getpid()}{suffix}"


def lease_wait_s(app: App, wait_s: float = _WAIT_S) -> float:
    """Return how long a verb waits for a device in seconds: what the user said, else what the verb says."""
    return wait_s if app.turn.wait_s is None else app.turn.wait_s


def leased(
    app: App,
    client: AgentClient,
    *,
    shared: bool = False,
    wait_s: float = _WAIT_S,
    listener: Listener | None = None,
) -> contextlib.AbstractAsyncContextManager[LeaseHandle]:
    """Hold a device for the length of an ``async with`` block, at the place in the queue that the user chose.

    Args:
        app: the user's turn.
        client: the device.
        shared: whether to hold it beside others that bring something to it; else alone, to measure.
        wait_s: how long to wait in seconds, where the user did not say.
        listener: told whom we wait for.

    Raises:
        BusyError: somebody else holds the device and the wait is over.
    """

    def waiting(lease: Lease) -> None:
        if listener is not None:
            listener.note(
                f"{client.device}: held by {lease.current_holder} for {lease.current_expires_in_s:.0f} s more; "
                f"place {lease.queue_position} in the queue."
            )

    return client.lease(
        holder_name(),
        wait_timeout_s=lease_wait_s(app, wait_s),
        priority=app.turn.priority,
        shared=shared,
        on_wait=waiting,
    )
