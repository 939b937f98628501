"""edgeloop serve in a process of its own, asked as programs and browsers ask."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Front:
    url: str
    home: Path
    process: subprocess.Popen[str]
    context: ssl.SSLContext | None = None
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(
        self, path: str, role: str = "operator", method: str = "GET", headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None, body: bytes | None = None,
    ) -> Answer:  # fmt: skip
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        if self.context is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=60, context=context or self.context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        sent = dict(headers or {})
        if role:
            sent["Authorization"] = f"Bearer {self.tokens[role]}"
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
        connection.close()
        return found


def start(home: Path, *words: str) -> Front:
    command = [
        sys.executable,
        "-m",
        "edgeloop",
        "--home",
        str(home),
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--json",
    ]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True, cwd=home)
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    tokens = {role: Path(path).read_text().strip() for role, path in said["token_files"].items()}
    return Front(said["url"], home, process, tokens=tokens)


def stop(front: Front) -> int:
    front.process.send_signal(signal.SIGTERM)
    code = front.process.wait(60)
    assert front.process.stdout is not None
    front.process.stdout.close()
    return code
