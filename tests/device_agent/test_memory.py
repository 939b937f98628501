"""The daemon's memory: what many small jobs would leave behind is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

TORN_HEAP = """
import re
from pathlib import Path
from edgeloop_agent import memory

def rss_kib():
    return int(re.search(r"^VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text(), re.M)[1])

memory.limit_heap()
memory.give_back_memory_after_job()
pieces = [bytes(20_000) for _ in range(2000)]
del pieces[:-1]  # the last one stands above the hole
full = rss_kib()
memory.give_back_memory_after_job()
print(full - rss_kib())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_free_memory_below_what_is_kept_goes_back_after_a_job() -> None:
    found = subprocess.run([sys.executable, "-c", TORN_HEAP], capture_output=True, text=True, check=True)
    assert int(found.stdout) > 30_000


KEPT = TORN_HEAP.replace("pieces = [", "memory.keep_memory()\npieces = [", 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_of_many_boards_keeps_its_memory() -> None:
    found = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 3_000


SETTLED = """
import gc
from edgeloop_agent import memory

kept = [[] for _ in range(100_000)]
memory.settle_memory()
before = len(gc.get_objects())
cycle = []
cycle.append(cycle)
del cycle
print(before, gc.collect())
"""


def test_what_lives_at_the_end_of_the_start_is_not_looked_through_again() -> None:
    found = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True)
    looked_at, collected = map(int, found.stdout.split())
    assert looked_at < 10_000
    assert collected == 1, "what comes after it is collected as ever"
