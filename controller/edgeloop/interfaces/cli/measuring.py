"""The options that measuring verbs share, shown in sections."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.trial import ARRIVALS, INTERLEAVES, SCENARIOS

from edgeloop.interfaces.cli.session import turn_options

if TYPE_CHECKING:
    from edgeloop.interfaces.settings import Measurement

__all__ = ["UNFIT", "MeasuringCommand", "measuring", "refuse_sweep"]

UNFIT = (
    "A device was not fit to measure. Change what the preflight checks name, or measure it as it is with "
    "--as-deployed."
)
"""What to do about a refusal, said once after the reasons."""

F = TypeVar("F", bound=Callable[..., Any])


class _Option(click.Option):
    """An option that is shown under a heading."""

    def __init__(self, *words: Any, section: str, **attributes: Any) -> None:
        super().__init__(*words, **attributes)
        self.section = section


class MeasuringCommand(click.Command):
    """A verb whose help shows the measuring options in sections below its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verb's own options, then every section."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                heading = parameter.section if isinstance(parameter, _Option) else "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _dashed(words: tuple[str, ...]) -> click.Choice[str]:
    return click.Choice([word.replace("_", "-") for word in words])


_COUNT = {"type": click.IntRange(min=1), "metavar": "N"}
_TIME = {"metavar": "TIME", "type": str}
_LIST = {"multiple": True, "metavar": "NAME"}

_SECTIONS: dict[str, tuple[tuple[tuple[str, ...], dict[str, Any]], ...]] = {
    "How much": (
        (("--rounds",), _COUNT | {"help": "Fresh processes per trial."}),
        (("--samples",), _COUNT | {"help": "Least samples; 662 allow a p99."}),
        (("--batch-size",), _COUNT | {"help": "Items per inference."}),
        (("--warmup",), _COUNT | {"help": "Least inferences before anything counts."}),
        (
            ("--interleave",),
            {"type": _dashed(INTERLEAVES), "help": "Take turns by process, or batch by batch (ABBA)."},
        ),
        (("--seed",), {"type": int, "metavar": "N", "help": "Seed of everything random."}),
    ),
    "State of the device": (
        (
            ("--as-deployed/--nominal", "as_deployed"),
            {
                "default": None,
                "help": "Measure the device as it is, a series of its own; nominal, the default, refuses one "
                "that is not fit.",
            },
        ),
        (("--settle",), _TIME | {"help": "Longest wait for the device to become fit; 30s."}),
        (
            ("--load-pulse/--no-load-pulse", "load_pulse"),
            {"default": None, "help": "A pattern of load first, to align external meters by; no."},
        ),
        (("--idle",), _TIME | {"help": "Idling measured before and after, for energy above idle."}),
    ),
    "Load": (
        (("--arrival",), {"type": _dashed(ARRIVALS), "help": "How requests come; closed waits for answers."}),
        (
            ("--rate",),
            {"multiple": True, "metavar": "HZ", "help": "Requests per second; several find the knee."},
        ),
        (("--queue",), _COUNT | {"help": "Requests that may wait; more are dropped and counted."}),
        (("--batch-sizes",), {"multiple": True, "metavar": "N,N", "help": "Throughput at each of them."}),
        (("--sustained",), _TIME | {"help": "One long run per trial, for example 20m: what heat does."}),
        (("--window",), _TIME | {"help": "Window of the sustained run; 10s."}),
        (("--scenario",), {"type": _dashed(SCENARIOS), "help": "An MLPerf scenario, unofficial."}),
        (("--scenario-time",), _TIME | {"help": "Its least duration; 10s (MLPerf asks for 10m)."}),
        (("--latency-bound",), _TIME | {"help": "Bound of the server scenario, for example 50ms."}),
    ),
    "Runtime": (
        (("--runtime",), _LIST | {"help": "Default onnxruntime; several are measured side by side."}),
        (("--provider",), _LIST | {"help": "Execution provider, in order of preference; repeatable."}),
        (
            ("--require-provider/--allow-fallback", "require_provider"),
            {"default": None, "help": "Refuse to measure when nodes run elsewhere."},
        ),
        (("--threads",), _COUNT | {"help": "Threads within one operator."}),
        (("--affinity",), {"metavar": "CPUS", "help": "Processors to pin to, for example 0,1."}),
        (("--spin/--no-spin", "spin"), {"default": None, "help": "Whether idle threads spin; no."}),
        (("--arena/--no-arena", "arena"), {"default": None, "help": "Whether freed memory is kept; yes."}),
        (("--precision",), {"type": click.Choice(["fp32", "fp16", "bf16"]), "help": "Of products; fp32."}),
        (
            ("--option",),
            {"multiple": True, "metavar": "KEY=VALUE", "help": "Of the runtime; applied or refused."},
        ),
    ),
}
"""Heading -> declarations and attributes of its options."""


def _name(declared: tuple[str, ...]) -> str:
    return declared[1] if len(declared) > 1 else declared[0].removeprefix("--").replace("-", "_")


def measuring(command: F) -> F:
    """Add the options that every measuring verb has; the command gets them as one mapping, ``words``."""
    options = [
        (declared, {"section": heading, **attributes})
        for heading, several in _SECTIONS.items()
        for declared, attributes in several
    ]

    @functools.wraps(command)
    def gathered(*arguments: Any, **values: Any) -> Any:
        words = {_name(declared): values.pop(_name(declared)) for declared, _ in options}
        return command(*arguments, words=words, **values)

    decorated: Any = gathered
    for declared, attributes in reversed(options):
        decorated = click.option(*declared, cls=_Option, **attributes)(decorated)
    found: F = turn_options(decorated)
    return found


def refuse_sweep(how: Measurement, verb: str) -> None:
    """Refuse several rates or batch sizes for a verb that measures at one point only.

    Raises:
        InvalidInputError: see above.
    """
    if how.sweep:
        raise InvalidInputError(
            f"{verb} measures at one point: it takes no --batch-sizes and one --rate at most.",
            next_step="Sweep with edgeloop bench or edgeloop run.",
        )
