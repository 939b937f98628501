"""A way to call the command line in a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from edgeloop.interfaces.cli.main import cli

from .recorder import Recorder

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Return ``call(*words, api=Recorder())``; the working directory is empty, figures never wrap."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGELOOP_DEBUG", raising=False)

    def calling(*words: str, api: Recorder | None = None) -> Result:
        return CliRunner().invoke(cli, list(words), obj=api)

    return calling
