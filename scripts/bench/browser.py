"""A headless browser in a process of its own, for scripts/bench/dashboard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DRIVER = Path(__file__).with_name("browser.mjs")


class Browser:
    """Chromium driven by playwright-core; every method is one command of ``browser.mjs``."""

    def __init__(self, tools: Path, base: str) -> None:
        install(tools)
        self._process = subprocess.Popen(
            ["node", str(DRIVER), str(tools), base], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def __call__(self, command: str, **words: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **words}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(
            self._process.stdout.readline() or '{"error": "the browser is gone"}'
        )
        if "error" in answer:
            raise RuntimeError(f"{command} {words}: {answer['error']}")
        return answer


def install(tools: Path) -> None:
    """Bring playwright-core and axe-core into a directory, unless they are there."""
    if not Path("/usr/bin/chromium").exists():
        sys.exit("dashboard: there is no Chromium. On Debian: apt-get install chromium")
    if (tools / "node_modules" / "axe-core").is_dir() and (
        tools / "node_modules" / "playwright-core"
    ).is_dir():
        return
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "package.json").write_text("{}")
    subprocess.run(["npm", "install", "--silent", "playwright-core", "axe-core"], cwd=tools, check=True)
