"""Child processes: what is left open when the loop ends before their pipes do."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings

from edgeloop_foundation.ports.process import SystemProcesses

# It ends at once and leaves a process of another group behind, which holds its output.
_LEAVES_ITS_OUTPUT_OPEN = ("/bin/sh", "-c", "setsid sleep 5 2>/dev/null &")


def test_a_child_that_was_waited_for_and_killed_leaves_no_pipe_open() -> None:
    async def use() -> None:
        child = await SystemProcesses().spawn(_LEAVES_ITS_OUTPUT_OPEN, {"PATH": os.environ["PATH"]})
        assert await child.wait() == 0
        child.kill()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        asyncio.run(use())
        gc.collect()
    assert [str(one.message) for one in seen if one.category is ResourceWarning] == []
