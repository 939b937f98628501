"""A running ``edgeloop serve`` as an object: experiments handed in and followed, and what it knows.

>>> from edgeloop.interfaces.server import Server
>>> server = Server.at("http://127.0.0.1:8780", token="...")  # doctest: +SKIP
>>> row = server.submit(request, on=["sim:raspberry_pi_5"])  # doctest: +SKIP
>>> result = server.result(server.follow(row.queue_id).experiment_id)  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import UnavailableError
from edgeloop_protocol.convert import from_json, to_json

from edgeloop.domain.experiment import ExperimentRequest, Listener, SilentListener
from edgeloop.domain.queue import QUEUE_ENDS, Submission, SubmittedFile
from edgeloop.domain.turn import ORDINARY_TURN, Turn
from edgeloop.interfaces.queue_rows import QueueNews, QueueRow
from edgeloop.interfaces.server_files import gathered
from edgeloop.interfaces.server_link import ServerLink, path_word, server_address
from edgeloop.interfaces.server_records import ServerRecords

__all__ = ["Server"]

_ENDS = frozenset(state.value for state in QUEUE_ENDS)
_DIGESTS_AT_ONCE = 400
_WAIT_S = 15.0
_AWAY_S_MAX = 600.0
_AGAIN_S = 1.0


class Server(ServerRecords):
    """The verbs that go through a server. Every method raises the ``EdgeloopError`` that the server told.

    Args:
        link: the way there.
        listener: hears what happens.
    """

    def __init__(self, link: ServerLink, listener: Listener | None = None) -> None:
        super().__init__(link)
        self._listener: Listener = listener or SilentListener()
        self._away_since = 0.0

    @classmethod
    def at(cls, url: str, *, token: str, ca: Path | None = None, listener: Listener | None = None) -> Server:
        """Return the server of an address.

        Raises:
            InvalidInputError: it is no such URL, or the token would travel in the clear.
        """
        return cls(ServerLink(server_address(url, token, ca)), listener)

    def heard_by(self, listener: Listener) -> Server:
        """Return the same server with another listener."""
        return Server(self._link, listener)

    def submit(
        self, request: ExperimentRequest, *, on: Sequence[str], turn: Turn = ORDINARY_TURN
    ) -> QueueRow:
        """Send the files of an experiment that are not there yet, and put it into the queue.

        Args:
            request: what to do; ``model`` and ``data`` are files of this machine, ``devices`` stays empty.
            on: words of ``--on``, as the server's inventory knows them.
            turn: its place in the queues of the server and of devices.
        """
        self._listener.phase(f"Hand in at {self.url}")
        files = gathered(request)
        digests = {path: _digest(file) for path, file in files.paths.items()}
        submission = Submission(
            request=replace(request, model=files.model, data=files.data),
            files=tuple(SubmittedFile(path=path, digest=digest) for path, digest in digests.items()),
            on=tuple(on),
            priority=turn.priority,
            wait_s=turn.wait_s,
        )
        self._send({digest: files.paths[path] for path, digest in digests.items()})
        return self._row(
            self._link.ask(
                "POST", "experiments", query={"queue_id": uuid.uuid4().hex}, tree=to_json(submission)
            )
        )

    def _send(self, files: Mapping[str, Path]) -> None:
        digests = list(files)
        missing: list[str] = []
        for start in range(0, len(digests), _DIGESTS_AT_ONCE):
            part = {"digests": digests[start : start + _DIGESTS_AT_ONCE]}
            missing += self._link.ask("POST", "uploads/missing", tree=part)["digests"]
        sizes = {digest: files[digest].stat().st_size for digest in missing}
        done = 0
        for digest, size in sizes.items():
            self._link.send_file(f"uploads/{digest}", files[digest], size)
            done += size
            self._listener.progress("send files", done, sum(sizes.values()), "B")

    def follow(self, queue_id: str) -> QueueRow:
        """Tell the listener what happens in an experiment until it is over, and return how it ended.

        A server that is away for less than ten minutes is waited for.

        Raises:
            UnavailableError: it is away for longer.
        """
        after, attempt, waits, state = 0, 0, "", ""
        while True:
            # The first answer comes at once: whoever waits in the queue is told so.
            news = self._news(queue_id, after, _WAIT_S if state else 0.0)
            row = news.entry
            if row.state != state:
                state = row.state
                self._listener.note(_standing(row))
            after, before = news.sequence, attempt
            attempt = row.attempt_count
            if before and attempt > before:
                self._listener.note("The server ended meanwhile; the experiment began anew.")
            for one in news.happenings:
                self._tell(one.kind, one.text, one.done, one.total, one.unit)
            if row.state in _ENDS:
                return row
            if row.state == "queued" and row.reason and row.reason != waits:
                waits = row.reason
                self._listener.note(waits)

    def _tell(self, kind: str, text: str, done: int, total: int, unit: str) -> None:
        if kind == "phase":
            self._listener.phase(text)
        elif kind == "progress":
            self._listener.progress(text, done, total, unit)
        else:
            self._listener.note(text)

    def _news(self, queue_id: str, after: int, wait_s: float) -> QueueNews:
        """Return what is new; wait while the server is away."""
        path, query = f"queue/{path_word(queue_id)}/events", {"after": after, "wait_s": wait_s}
        since_s = time.monotonic()
        while True:
            found = self._told(path, query, first=since_s, patient=time.monotonic() - since_s < _AWAY_S_MAX)
            if found is not None:
                return found
            time.sleep(_AGAIN_S)

    def _told(self, path: str, query: Mapping[str, Any], *, first: float, patient: bool) -> QueueNews | None:
        try:
            return from_json(self._link.ask("GET", path, query=query), QueueNews)
        except UnavailableError as error:
            if not patient:
                raise
            if first != self._away_since:
                self._away_since = first
                self._listener.note(f"{error.message} It is asked again for ten minutes.")
            return None

    def queue(self, *, limit: int = 50) -> tuple[QueueRow, ...]:
        """Return what was handed in, the last first."""
        found = self._link.ask("GET", "queue", query={"limit": limit})
        return tuple(self._row(tree) for tree in found)

    def queued(self, word: str) -> QueueRow:
        """Return an experiment of the queue, by its identifier or the beginning of it."""
        return self._row(self._link.ask("GET", f"queue/{path_word(word)}"))

    def cancel(self, word: str) -> QueueRow:
        """Call an experiment of the queue off, whether it waits or runs."""
        return self._row(self._link.ask("DELETE", f"queue/{path_word(word)}"))

    def _row(self, tree: Any) -> QueueRow:
        return from_json(tree, QueueRow)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _standing(row: QueueRow) -> str:
    if row.state == "queued":
        return f"Experiment {row.queue_id} is in the queue, priority {row.priority}."
    return f"Experiment {row.queue_id} is {row.state}."
