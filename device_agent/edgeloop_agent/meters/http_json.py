"""One JSON document over HTTP from a small device that nobody vouches for."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_agent.sensors.base import SensorAbsentError, SensorFailedError, SensorUnsupportedError

if TYPE_CHECKING:
    import http.client

__all__ = ["HttpAddress", "number_at"]

_TIMEOUT_S = 1.5
_BODY_BYTES_MAX = 64 << 10


class HttpAddress:
    """Where a meter answers; ``http://HOST[:PORT]``, no path, no credentials.

    Raises:
        InvalidInputError: it is something else.
    """

    def __init__(self, kind: str, text: str) -> None:
        self._kind = kind
        parts = _split(text)
        if parts is None or parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise InvalidInputError(
                f"a {kind} meter is named as {kind}=http://HOST or http://HOST:PORT, not {text!r}."
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise InvalidInputError(
                f"the address of a {kind} meter holds host and port alone.",
                next_step="A password on a command line is seen by everyone on the board.",
            )
        if not _is_number(parts.hostname):
            raise InvalidInputError(
                f"the address of a {kind} meter is an IP address, not the name {parts.hostname!r}.",
                next_step="Looking up a name knows no deadline, and would keep the board's other sensors waiting.",
            )
        self._host, self._port = parts.hostname, parts.port or 80

    def get(self, path: str, now_ns: Callable[[], int]) -> tuple[Any, int]:
        """Return the document at ``path`` and the monotonic time of the answer: the middle of the exchange.

        Raises:
            SensorAbsentError: nothing answers there, or it knows no such path.
            SensorUnsupportedError: it wants a password, or answers something else than one JSON document.
            SensorFailedError: not in time, or it broke off.
        """
        # Imported here: a daemon without such a meter does without the mail parser that comes along.
        import http.client

        before = now_ns()
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        overdue = threading.Event()
        try:
            connection.connect()
            with _deadline(connection.sock, overdue):
                body = self._exchange(connection, path)
        except SensorFailedError:
            # It is an OSError too, and has its sentence.
            raise
        except ConnectionRefusedError as error:
            raise SensorAbsentError(f"nothing answers at {self.source(path)}") from error
        except (OSError, http.client.HTTPException) as error:
            if overdue.is_set() or isinstance(error, TimeoutError):
                raise SensorFailedError(f"{self.source(path)} did not answer in {_TIMEOUT_S:g} s") from error
            what = str(error).strip() or type(error).__name__
            raise SensorFailedError(f"{self.source(path)}: {what[:120]}") from error
        finally:
            connection.close()
        if overdue.is_set():
            raise SensorFailedError(f"{self.source(path)} did not answer in {_TIMEOUT_S:g} s")
        middle_ns = (before + now_ns()) // 2
        try:
            return json.loads(body), middle_ns
        except (ValueError, RecursionError) as error:
            raise SensorUnsupportedError(f"{self.source(path)} answered no JSON") from error

    def source(self, path: str) -> str:
        """Return the address of a document, as it stands in a reading."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{path}"

    def _exchange(self, connection: http.client.HTTPConnection, path: str) -> bytes:
        connection.request("GET", path, headers={"Accept": "application/json", "Connection": "close"})
        with contextlib.closing(connection.getresponse()) as response:
            self._check(int(response.status), path)
            body = response.read(_BODY_BYTES_MAX + 1)
        if len(body) > _BODY_BYTES_MAX:
            raise SensorUnsupportedError(f"{self.source(path)} answered more than {_BODY_BYTES_MAX} bytes")
        return body

    def _check(self, status: int, path: str) -> None:
        if status in (401, 403):
            raise SensorUnsupportedError(
                f"{self.source(path)} wants a password, which this driver does not send; switch the "
                f"authentication of the {self._kind} meter off, or put it on a network of its own"
            )
        if status == 404:
            raise SensorAbsentError(f"{self.source(path)} is not there: no {self._kind} meter of this kind")
        if status != 200:
            raise SensorFailedError(f"{self.source(path)} answered with status {status}")


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        # Reading the port is what checks it.
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def _deadline(connected: socket.socket, overdue: threading.Event) -> Iterator[None]:
    """Break a connection off after the timeout: a device that sends byte by byte would get a new one with each."""

    def break_off() -> None:
        overdue.set()
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    watchdog = threading.Timer(_TIMEOUT_S, break_off)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def number_at(document: Any, *path: str | int) -> float | None:
    """Return the finite number at a place in a document; None when there is none."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(document, list) or step >= len(document):
                return None
            document = document[step]
        elif isinstance(document, dict):
            document = document.get(step)
        else:
            return None
    if isinstance(document, bool) or not isinstance(document, int | float):
        return None
    try:
        value = float(document)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
