"""What the agent tells the systemd that started it: ready, alive, stopping; elsewhere it tells nobody.

The protocol is that of sd_notify(3): datagrams to the socket in ``NOTIFY_SOCKET``. Being alive is told by the loop that
serves calls, so that a blocked one is started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping

__all__ = ["ServiceManager"]

_log = logging.getLogger(__name__)

# systemd gives up after WATCHDOG_USEC; half of it is what sd_watchdog_enabled(3) recommends.
_PARTS = 2
_LAG_WORTH_A_LINE_S = 0.25


class ServiceManager:
    """The manager that the environment names, or none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read the environment; what concerns another process is left alone."""
        address = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for a name in the abstract namespace.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        text = environment.get("WATCHDOG_USEC", "")
        #: Time between two signs of life; None when nobody waits for them.
        self.interval_s = int(text) * 1e-6 / _PARTS if address and mine and text.isdecimal() else None

    def tell(self, state: str) -> None:
        """Send one state; a manager that is gone is no reason to end."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.connect(self._address)
                channel.sendall(state.encode())
        except OSError as error:
            _log.warning("the service manager did not take %s: %s", state, error)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Say that the agent is ready, give signs of life inside, and say at the end that it stops."""
        self.tell("READY=1")
        beat = asyncio.create_task(self._beat(self.interval_s), name="watchdog") if self.interval_s else None
        try:
            yield
        finally:
            if beat is not None:
                beat.cancel()
                await asyncio.wait({beat})
            self.tell("STOPPING=1")

    async def _beat(self, interval_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + interval_s
            self.tell("WATCHDOG=1")
            await asyncio.sleep(interval_s)
            if (lag := loop.time() - due) > _LAG_WORTH_A_LINE_S:
                _log.warning("the loop was blocked for %.2f s", lag)
