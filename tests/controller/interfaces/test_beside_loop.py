"""The waiting interface where an event loop runs already."""

from __future__ import annotations

import asyncio
import inspect
import threading
from pathlib import Path

import pytest
from edgeloop.interfaces.api import Edgeloop
from edgeloop.interfaces.beside_loop import works_beside_a_loop
from edgeloop.interfaces.shipping import Shipping
from edgeloop_foundation.errors import InvalidInputError, NotFoundError


@works_beside_a_loop
class Verbs:
    """Waits for a coroutine, as the interface does."""

    def thread(self, word: str, *, more: int = 0) -> tuple[str, int, str]:
        """Return what came in, and the thread that it was done in."""

        async def work() -> str:
            return threading.current_thread().name

        return word, more, asyncio.run(work())

    def fail(self) -> None:
        """Raise an error."""
        raise NotFoundError("it is not there.")


def test_without_a_loop_the_callers_own_thread_does_it() -> None:
    assert Verbs().thread("a", more=1) == ("a", 1, threading.current_thread().name)


async def test_beside_a_running_loop_another_thread_does_it() -> None:
    word, more, thread = Verbs().thread("a", more=1)
    assert (word, more) == ("a", 1)
    assert thread != threading.current_thread().name
    with pytest.raises(NotFoundError, match="it is not there"):
        Verbs().fail()


async def test_the_real_interface_is_called_from_a_coroutine(tmp_path: Path) -> None:
    loop = Edgeloop(tmp_path)
    assert loop.artifacts() == ()
    # Refused within the coroutine that each method waits for.
    with pytest.raises(InvalidInputError, match="no device is named"):
        loop.facts(())
    with pytest.raises(InvalidInputError, match="no device is named"):
        loop.shipping.deployments(())


def test_names_docstrings_and_signatures_stay() -> None:
    for kind in (Edgeloop, Shipping):
        public = [
            method
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        ]
        assert len(public) > 5
        assert all(method.__doc__ and method.__name__ != "called" for method in public)
    assert list(inspect.signature(Edgeloop.run).parameters) == ["self", "request"]
