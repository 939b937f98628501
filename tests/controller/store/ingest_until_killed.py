"""Forks writers that ingest runs and kills each one at a random moment; run by test_records.

Usage: python ingest_until_killed.py RECORDS TEMPLATE ACKNOWLEDGED KILLS
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from edgeloop.store.records import RecordStore
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.run import Run, SpooledRun


def write(records: Path, template: Run, acknowledged: Path, first: int) -> None:
    """Ingest runs for ever, a few old ones again among them, noting each one after its commit."""
    store = RecordStore.open(records)
    log = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for sequence in range(max(1, first - 3), 1 << 30):
        run = replace(template, run_id=f"run-{sequence:06d}")
        store.ingest(SpooledRun(epoch="e1", sequence=sequence, run=run), "desk")
        os.write(log, f"{sequence}\n".encode())


def await_more(acknowledged: Path, known: int) -> None:
    """Wait until the writer acknowledged something, so that a kill falls between or into commits."""
    give_up = time.monotonic() + 20
    while not acknowledged.exists() or len(acknowledged.read_text().split()) <= known:
        if time.monotonic() > give_up:
            raise SystemExit("the writer wrote nothing within 20 s")
        time.sleep(0.001)


def main() -> None:
    records, template, acknowledged = (Path(a) for a in sys.argv[1:4])
    run = from_json(template.read_bytes(), Run)
    generator = random.Random(5)
    for _ in range(int(sys.argv[4])):
        known = acknowledged.read_text().split() if acknowledged.exists() else []
        child = os.fork()
        if child == 0:
            write(records, run, acknowledged, int(known[-1]) if known else 1)
        await_more(acknowledged, len(known))
        time.sleep(generator.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
