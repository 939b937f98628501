"""The program that verifies releases, on a faulty disk: ``faulty_verifier.py PLAN COUNTED --state STATE``.

Counts go on from one start to the next in the file COUNTED, which is no part of the state; so does "once".
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edgeloop_agent.frames import encode_frame
from edgeloop_agent.trust.__main__ import answer, read_header
from edgeloop_agent.trust_files import DIRECTORY, TrustFiles

from scripts.heavy.faulty_disk import FaultyDisk, Plan


class CountedDisk(FaultyDisk):
    """Goes on counting where the process before it ended."""

    def __init__(self, plan: Plan, counted: Path) -> None:
        super().__init__(plan)
        self._counted = counted
        if counted.exists():
            self.counts = json.loads(counted.read_text())

    def save(self) -> None:
        """Keep the counts for the next process."""
        self._counted.write_text(json.dumps(self.counts))

    def strike(self) -> None:
        """Do what is planned, and let the next process know."""
        self.save()
        super().strike()


def main() -> int:
    plan, counted, _, state = sys.argv[1:]
    os.umask(0o077)
    disk = CountedDisk(Plan(**json.loads(plan)), Path(counted))
    disk.arm()
    reply = answer(TrustFiles(disk, Path(state) / DIRECTORY), read_header, time.time())
    disk.save()
    sys.stdout.buffer.write(encode_frame(reply))
    return 0


if __name__ == "__main__":
    sys.exit(main())
