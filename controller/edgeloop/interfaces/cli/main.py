"""The ``edgeloop`` command: a lazy table of verbs, and errors as sentences with documented exit codes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import click
from edgeloop_foundation import errors as e

from edgeloop import __version__

__all__ = ["EXIT_DEVICE", "EXIT_FAULT", "EXIT_GATE", "EXIT_USE", "cli", "exit_code_of", "main"]

EXIT_GATE = 1
EXIT_USE = 2
EXIT_DEVICE = 3
EXIT_FAULT = 70
"""A fault of edgeloop itself; EX_SOFTWARE of sysexits.h."""

_EXIT_INTERRUPTED = 128 + signal.SIGINT
_EXIT_PIPE = 128 + signal.SIGPIPE

_VERBS: dict[str, tuple[str, str]] = {
    "init": ("init:init", "Write an edgeloop.toml to start from."),
    "run": ("run:run", "Compress, measure on every device, prove parity there, choose a strategy."),
    "compress": ("single:compress", "Build candidates on the host and judge them."),
    "evaluate": (
        "evaluate:evaluate",
        "Judge a model on labelled data: per class, beside another, steadiness.",
    ),
    "ladder": ("ladder:ladder", "Climb from stage to stage as long as the quality is kept."),
    "bench": ("single:bench", "Benchmark one model or artifact on devices."),
    "predict": (
        "predict:predict",
        "Predict latency and memory on boards from their profiles; none is started.",
    ),
    "parity": ("single:parity", "Check on devices that outputs agree with the host's."),
    "compare": ("compare:compare", "Say whether one model is slower than another on a device."),
    "analyze": ("single:analyze", "Describe a model and say what is worth trying."),
    "select": ("decide:select", "Decide again from records, without measuring."),
    "validate": ("decide:validate", "Hold an experiment against thresholds; exit 1 when a gate fails."),
    "report": ("decide:report", "Render an experiment as HTML, Markdown, JSON, CSV or JUnit."),
    "energy": ("energy:energy", "Lay the trace of a meter on another machine beside recorded runs."),
    "export": ("records:export", "Write records as Parquet, CSV or to MLflow."),
    "import": ("records:import_rows", "Append published figures, marked third-party for ever."),
    "artifact": (
        "artifact:artifact",
        "List kept artifacts, copy one out, package one, bring one to devices.",
    ),
    "sim": ("sim:sim", "Run fleets of simulated boards."),
    "ca": ("ca:ca", "The fleet's own authority: make it, issue, renew, revoke, roll over."),
    "release": ("release:release", "Sign what may be deployed: make the keys, sign artifacts, replace keys."),
    "deploy": ("release:deploy", "Install a signed release: verified, probed, on trial, committed or back."),
    "deployment": (
        "release:deployment",
        "Look at what devices have installed, serve it, go back, end an installation.",
    ),
    "rollout": (
        "rollout:rollout",
        "Bring a signed release to many devices in waves, with a gate and a way back.",
    ),
    "certificate": (
        "certificate:certificate",
        "Parity certificates: have a device sign one, verify one offline.",
    ),
    "audit": ("release:audit", "Check the log of who signed, deployed and rolled back what."),
    "device": ("device:device", "Add boards, list devices, show their facts, look them over."),
    "queue": ("queue:queue", "Experiments at a server: list them, follow one, call one off."),
    "model": ("model:model", "The registry of models: versions, tags, where they serve, how often they ran."),
    "serve": ("serve:serve", "Watch the fleet and answer over HTTP: dashboard, API, metrics."),
    "completion": ("completion:completion", "Print the completion of a shell: bash, zsh, fish."),
    "telemetry": ("telemetry:telemetry", "Bring home what devices noted about themselves, and show it."),
    "alerts": ("alerts:alerts", "List what is wrong with devices and what they serve; check the rules."),
    "profile": ("profile:profile", "Show the declared boards, check a file of your own, print the layout."),
}
"""Verb -> where it is and its line in the help, so that the help needs to import none of them."""

_DEVICE_ERRORS = (
    e.UnavailableError,
    e.DeadlineError,
    e.BusyError,
    e.StateError,
    e.AccessDeniedError,
    e.UnauthenticatedError,
    e.CorruptDataError,
)


class _ReaderGoneError(Exception):
    """Nobody reads our standard output any more."""


def exit_code_of(error: BaseException) -> int:
    """Return the exit code that stands for an error."""
    if isinstance(error, KeyboardInterrupt | e.CancelledByUserError | click.Abort):
        return _EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError | _ReaderGoneError):
        return _EXIT_PIPE
    if isinstance(error, e.InternalError):
        return EXIT_FAULT
    if isinstance(error, _DEVICE_ERRORS):
        return EXIT_DEVICE
    if isinstance(error, e.EdgeloopError | click.ClickException):
        return EXIT_USE
    if isinstance(error, OSError):
        out_of_room = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return EXIT_DEVICE if out_of_room or isinstance(error, ConnectionError | TimeoutError) else EXIT_USE
    return EXIT_FAULT


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted."
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, e.EdgeloopError) and not isinstance(error, e.InternalError):
        return str(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}."
    text = " ".join(str(error).split()) or "no message"
    return (
        f"{type(error).__name__}: {text}. "
        "This is a fault of edgeloop; run with EDGELOOP_DEBUG=1 for the trace."
    )


def _fail(error: BaseException) -> NoReturn:
    if os.environ.get("EDGELOOP_DEBUG"):
        raise error
    code = exit_code_of(error)
    if code == _EXIT_PIPE:
        # The reader is gone; what the interpreter flushes at its end must not fail again.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        click.echo(f"edgeloop: {_sentence(error)}", err=True)
    sys.exit(code)


class _Verbs(click.Group):
    """The verbs, imported when used; errors leave as one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module, _, attribute = _VERBS[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(f"edgeloop.interfaces.cli.{module}"), attribute)
        from edgeloop.interfaces.cli.through_server import guarded

        return guarded(cast("click.Command", found), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in _VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        # Caught here, because click itself answers both in its own way.
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise e.CancelledByUserError("interrupted.") from error
        except BrokenPipeError as error:
            raise _ReaderGoneError from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except (click.Abort, KeyboardInterrupt, Exception) as error:
            _fail(error)
        sys.exit(code if isinstance(code, int) else 0)


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 fine, 1 a gate failed, 2 wrong use, 3 device or network, 70 a fault of edgeloop, "
    "130 interrupted.",
)
@click.version_option(__version__, message="%(version)s")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Configuration file; default: ./edgeloop.toml if there."
)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Records and artifacts; default: $EDGELOOP_HOME or ./.edgeloop.",
)
@click.option(
    "--inventory",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the named devices; default: devices.toml in the home.",
)
@click.option(
    "--server",
    metavar="URL",
    envvar="EDGELOOP_SERVER",
    help="Go through the edgeloop serve at this address; '' for none, whatever edgeloop.toml says.",
)
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@click.pass_context
def cli(
    ctx: click.Context,
    config: Path | None,
    home: Path | None,
    inventory: Path | None,
    server: str | None,
    quiet: bool,
) -> None:
    """Find, prove and ship the best compressed form of a model for each device, by measuring there."""
    from edgeloop.interfaces.cli.session import Session

    ctx.obj = Session(
        config_file=config, home=home, quiet=quiet, inventory_file=inventory, given=ctx.obj, server=server
    )


def _end_as_interrupted(number: int, frame: object) -> None:
    # What a script's shell starts in the background ignores SIGINT, and asyncio then leaves it alone too.
    if not callable(signal.getsignal(signal.SIGINT)):
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def main() -> None:
    """Run the command line and exit."""
    # A cancelled CI job sends SIGTERM: leases are given back as on Ctrl-C.
    signal.signal(signal.SIGTERM, _end_as_interrupted)
    cli()
