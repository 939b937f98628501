"""Trees of boards that the tests of sensors share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

TREES = Path(__file__).parents[2] / "fixtures" / "sysfs"
BOARDS = sorted(path.parent for path in TREES.rglob("SOURCE"))
RECORDED = [board for board in BOARDS if board.parent == TREES]
FROM_DOCUMENTATION = [board for board in BOARDS if board.parent.name == "from_documentation"]


def name_of(board: Path) -> str:
    return str(board.relative_to(TREES))


def expected_of(board: Path) -> dict[str, Any]:
    return dict(json.loads((board / "expected.json").read_text()))


def copy_of(name: str, tmp_path: Path) -> Path:
    """Return the root of a tree that a test may change."""
    shutil.copytree(TREES / name / "root", tmp_path / "root", symlinks=True)
    return tmp_path / "root"


class Ticking:
    """A monotonic clock that only moves when it is told to."""

    def __init__(self, seconds: float = 1000.0) -> None:
        self.ns = round(seconds * 1e9)

    def __call__(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
