"""Errors as sentences, exit codes, and a help that imports nothing heavy."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from edgeloop.interfaces.cli.main import _VERBS, cli, exit_code_of
from edgeloop_foundation import errors

from .conftest import Call
from .recorder import Recorder

_HEAVY = (
    "numpy",
    "onnx",
    "onnxruntime",
    "pydantic",
    "rich",
    "sqlalchemy",
    "plotly",
    "yaml",
    "grpc",
    "asyncio",
)


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom edgeloop.interfaces.cli.main import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print('IMPORTED', [m for m in {_HEAVY!r} if m in sys.modules])\n"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 3.0
    assert done.stdout.endswith("IMPORTED []\n")
    for verb in _VERBS:
        assert f"\n  {verb} " in done.stdout
    assert "Exit codes: 0 fine, 1 a gate failed, 2 wrong use, 3 device or network" in done.stdout


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_exists_and_has_help(call: Call, verb: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0, result.output
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.name == verb
    assert command.help, "a verb without a sentence"


@pytest.mark.parametrize("module", [place.partition(":")[0] for place, _ in _VERBS.values()])
def test_every_file_of_the_room_is_in_the_table(module: str) -> None:
    room = Path(sys.modules["edgeloop.interfaces.cli.main"].__file__ or "").parent
    shared = {"__init__", "main", "measuring", "session", "through_server"}
    # Verbs below "device" and "deployment".
    files = (
        {path.stem for path in room.glob("*.py")}
        - shared
        - {"board", "enrol", "inventory", "watch", "discover", "drain", "serving"}
    )
    assert module in files
    assert files == {place.partition(":")[0] for place, _ in _VERBS.values()}


def _errors() -> list[tuple[BaseException, int]]:
    by_use: list[BaseException] = [
        errors.InvalidInputError("x"),
        errors.NotFoundError("x"),
        errors.AlreadyExistsError("x"),
        errors.UnsupportedError("x"),
        errors.MissingDependencyError("x"),
        PermissionError(errno.EACCES, "Permission denied", "f"),
        IsADirectoryError(errno.EISDIR, "Is a directory", "f"),
    ]
    by_device: list[BaseException] = [
        errors.UnavailableError("x"),
        errors.DeadlineError("x"),
        errors.BusyError("x"),
        errors.LeaseError("x"),
        errors.StateError("x"),
        errors.AccessDeniedError("x"),
        errors.UnauthenticatedError("x"),
        errors.CorruptDataError("x"),
        OSError(errno.ENOSPC, "No space left on device", "f"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ]
    by_us: list[BaseException] = [
        errors.InternalError("x"),
        KeyError("x"),
        RuntimeError(""),
        ZeroDivisionError("x"),
    ]
    stopped: list[BaseException] = [KeyboardInterrupt(), errors.CancelledByUserError("x")]
    pairs = [(by_use, 2), (by_device, 3), (by_us, 70), (stopped, 130)]
    return [(error, code) for several, code in pairs for error in several]


@pytest.mark.parametrize(("error", "code"), _errors(), ids=lambda value: repr(value)[:40])
def test_an_error_is_one_sentence_and_its_code(call: Call, error: BaseException, code: int) -> None:
    result = call("run", "m.onnx", "--on", "local", api=Recorder(error=error))
    assert result.exit_code == code == exit_code_of(error)
    assert result.stdout == ""
    assert result.stderr.startswith("edgeloop: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    assert ("EDGELOOP_DEBUG=1" in result.stderr) == (code == 70)


@pytest.mark.parametrize("name", [n for n in errors.__all__ if n != "EdgeloopError"])
def test_every_error_of_ours_has_a_documented_code(name: str) -> None:
    assert exit_code_of(getattr(errors, name)("x")) in (2, 3, 70, 130)


def test_the_next_step_is_said(call: Call) -> None:
    error = errors.BusyError("pi is held by ci-7 for 40 s.", next_step="Wait or use --lease-wait.")
    result = call("run", "m", "--on", "local", api=Recorder(error=error))
    assert result.stderr == "edgeloop: pi is held by ci-7 for 40 s. Wait or use --lease-wait.\n"


def test_a_full_disk_names_the_file(call: Call) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/blob")
    result = call("run", "m", "--on", "local", api=Recorder(error=error))
    assert result.stderr == "edgeloop: /data/blob: No space left on device.\n"


def test_debug_lets_the_trace_through(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELOOP_DEBUG", "1")
    result = call("run", "m", "--on", "local", api=Recorder(error=KeyError("inner")))
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize(
    "words",
    [
        ["walk"],
        ["run", "--frobnicate"],
        ["run", "m", "--seed", "x"],
        ["compare", "a"],
        ["artifact", "burn"],
        ["report", "--format", "pdf"],
        ["run", "m", "--threads", "0"],
        ["validate"],
    ],
    ids=lambda words: " ".join(words),
)
def test_wrong_words_are_wrong_use(call: Call, words: list[str]) -> None:
    result = call(*words, api=Recorder())
    assert result.exit_code == 2
    assert result.stderr.startswith("edgeloop: ")
    assert "Traceback" not in result.output


def test_a_reader_that_goes_away_is_no_fault() -> None:
    program = (
        "import sys\nfrom edgeloop.interfaces.cli.main import cli\n"
        "from edgeloop.interfaces import present\n"
        "import click\n"
        "import edgeloop.interfaces.cli.decide as d\n"
        "@click.command()\ndef report():\n    present.print_text('x' * 10_000_000)\n"
        "    present.print_text('more')\n"
        "d.report = report\ncli(['report'])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(10) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("start", ["", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"])
def test_sigterm_ends_like_an_interrupt(start: str) -> None:
    """Also where SIGINT is ignored, as a script's shell has it for what it starts in the background."""
    program = (
        f"{start}import asyncio, sys\nimport click\n"
        "import edgeloop.interfaces.cli.decide as d\n"
        "from edgeloop.interfaces.cli.main import main\n"
        "async def work():\n"
        "    try:\n        print('up', flush=True)\n        await asyncio.sleep(30)\n"
        "    finally:\n        print('given back', flush=True)\n"
        "@click.command()\ndef report():\n    asyncio.run(work())\n"
        "d.report = report\nsys.argv = ['edgeloop', 'report']\nmain()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        child.terminate()
        out, err = child.communicate(timeout=10)
    assert (out, err, child.returncode) == ("given back\n", "edgeloop: interrupted.\n", 130)


def test_the_readme_lists_every_verb_and_exit_code() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    verbs, codes = (
        readme.partition(f"## {title}\n")[2].partition("\n## ")[0] for title in ("Verbs", "Exit codes")
    )
    for name in _VERBS:
        command = cli.get_command(click.Context(cli), name)
        under = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else [""]
        for verb in (f"{name} {sub}".strip() for sub in under):
            assert f"`{verb}`" in verbs
    for code in (0, 1, 2, 3, 70, 130, 141):
        assert f"`{code}`" in codes
