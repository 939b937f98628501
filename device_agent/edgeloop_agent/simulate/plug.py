"""A wall plug with a power meter in front of a simulated board, which the agent's own driver asks over HTTP."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from edgeloop_profiles.profile import Sensor

from edgeloop_agent.meters.shelly import Shelly
from edgeloop_agent.simulate.power_chip import PowerChip

__all__ = ["SimulatedPlug"]

_STATUS = "/rpc/Switch.GetStatus"
_WATT_HOUR_J = 3600.0


class SimulatedPlug:
    """Answers on a loopback port as a Shelly plug of the second generation does, with what its chip shows.

    Nobody changes the board while it is asked: the one who asks waits for the answer.

    Args:
        sensor: what the profile declares of it.
        chip: what it sees of the board.
        now_ns: the board's job time.
    """

    name: ClassVar[str] = Shelly.name

    def __init__(self, sensor: Sensor, chip: PowerChip, now_ns: Callable[[], int]) -> None:
        self._chip = chip
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.status = self._status
        thread = threading.Thread(target=self._server.serve_forever, name="simulated-plug", daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        #: The driver that asks it.
        self.meter = Shelly(address, {"quantity": sensor.quantity, "scope": sensor.scope}, now_ns)

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _status(self) -> dict[str, object]:
        power_w, hours = self._chip.power_w(0), self._chip.energy_j / _WATT_HOUR_J
        return {"id": 0, "output": True, "apower": round(power_w, 1), "aenergy": {"total": round(hours, 3)}}


class _Server(socketserver.TCPServer):
    status: Callable[[], dict[str, object]]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer the one question."""
        if self.path.partition("?")[0] != _STATUS:
            self.send_error(404)
            return
        body = json.dumps(self.server.status()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
