"""A server that answers as a meter does, and a pseudo-terminal that a meter writes to."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socketserver
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class MeterServer:
    """Serves one document per path; ``status``, ``raw`` and ``drip_s`` make it misbehave."""

    documents: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    raw: bytes | None = None
    drip_s: float = 0.0
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def _handler(meter: MeterServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            meter.asked.append(self.path)
            found = meter.documents.get(self.path)
            status = 404 if found is None and meter.status == 200 and meter.raw is None else meter.status
            body = meter.raw if meter.raw is not None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                if not meter.drip_s:
                    self.wfile.write(body)
                    return
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(meter.drip_s)

        def log_message(self, *_: Any) -> None: ...

    return Handler


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def meter_server() -> Iterator[MeterServer]:
    meter = MeterServer()
    server = _Server(("127.0.0.1", 0), _handler(meter))
    meter.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield meter
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class SerialLine:
    """The meter's side of a pseudo-terminal."""

    path: str
    master: int
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def write(self, text: str) -> None:
        os.write(self.master, text.encode())

    def keep_writing(self, line: Callable[[], str], every_s: float = 0.02) -> None:
        """Write lines like a meter does, until the test ends."""

        def work() -> None:
            while not self._stop.wait(every_s):
                with contextlib.suppress(OSError):
                    os.write(self.master, line().encode())

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def serial_line() -> Iterator[SerialLine]:
    master, slave = os.openpty()
    os.set_blocking(master, False)
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    line = SerialLine(os.ttyname(slave), master)
    yield line
    line.stop()
    os.close(slave)
    os.close(master)
