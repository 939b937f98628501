"""The verb ``compare``: is B slower than A on a device?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeloop.interfaces.cli.session import (
    Session,
    json_option,
    on_option,
    seed_option,
    threads_option,
    turn_options,
)

if TYPE_CHECKING:
    from edgeloop_protocol.types.trial import Benchmark

    from edgeloop.domain.comparison import Comparison

__all__ = ["compare"]


class _Percent(click.ParamType[float]):
    """A share in percent, with or without the sign."""

    name = "pct"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share; fails for anything but a number from 0 on."""
        try:
            found = float(str(value).strip().removesuffix("%"))
        except ValueError:
            found = -1.0
        if not 0.0 <= found < float("inf"):
            self.fail(f"{value!r} is no percentage, for example 5 or 5%", param, ctx)
        return found / 100.0


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--data", default="", help="Data for golden inputs.")
@on_option
@click.option("--rounds", type=click.IntRange(min=3), help="Fresh processes per model.")
@click.option(
    "--round-s", type=click.FloatRange(min=0.05), help="Measured time per process; default 0.35 seconds."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Items per inference.")
@click.option("--nominal", is_flag=True, help="Refuse a device that does not pass every preflight check.")
@click.option(
    "--fail-if-slower",
    type=_Percent(),
    is_flag=False,
    flag_value="0",
    default=None,
    metavar="[PCT]",
    help="Exit 1 when B is slower, or only when it is proven slower by more than PCT percent.",
)
@seed_option
@threads_option
@turn_options
@json_option
@click.pass_context
def compare(
    ctx: click.Context,
    a: str,
    b: str,
    data: str,
    on: tuple[str, ...],
    rounds: int | None,
    round_s: float | None,
    batch_size: int | None,
    nominal: bool,
    fail_if_slower: float | None,
    seed: int | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Compare the latency of A and B, files or digests, on devices: B/A with its 95 % interval.

    Both take turns in fresh processes. A change is called only when the interval leaves 1 +- 1 %, or what the device
    does to one and the same artifact where that is more; that noise is measured first where it is not known. Compare A
    with itself to know it better.
    """
    from edgeloop_protocol.types.trial import RuntimeSettings

    from edgeloop.interfaces import present
    from edgeloop.interfaces.show_comparison import print_comparisons

    session: Session = ctx.obj
    devices, config = session.devices(on), session.config()
    benchmark = _protocol(rounds, round_s, batch_size, nominal, seed)
    settings = RuntimeSettings(intra_op_threads=threads or (config.experiment.threads if config else 1))
    with session.verbs() as verbs:
        found = verbs.compare(a, b, devices, benchmark, settings, data=data)
    present.print_json({"comparisons": [_tree(one) for one in found]}) if as_json else print_comparisons(
        found
    )
    if any(one.error for one in found):
        ctx.exit(3)
    if fail_if_slower is not None and _slower(found, fail_if_slower):
        ctx.exit(1)


def _protocol(
    rounds: int | None, round_s: float | None, batch_size: int | None, nominal: bool, seed: int | None
) -> Benchmark:
    from dataclasses import replace

    from edgeloop.orchestrate.compare import COMPARISON_BENCHMARK as DEFAULT

    count = rounds or DEFAULT.rounds
    each = round_s or DEFAULT.steady_s_max / DEFAULT.rounds
    return replace(
        DEFAULT,
        rounds=count,
        steady_s_max=count * each,
        batch_size=batch_size or DEFAULT.batch_size,
        series="nominal" if nominal else DEFAULT.series,
        seed=seed or 0,
    )


def _tree(comparison: Comparison) -> dict[str, Any]:
    """Return everything of a comparison, with what its properties say."""
    from edgeloop_protocol.convert import to_json

    tree: dict[str, Any] = to_json(comparison)
    return tree | {
        "verdict": comparison.verdict.value,
        "same": comparison.same,
        "predicted": comparison.predicted,
    }


def _slower(found: Sequence[Comparison], share: float) -> bool:
    """Whether one is called slower, with the whole interval of its median beyond the share."""
    from edgeloop.domain.comparison import ChangeVerdict

    return any(
        one.verdict is ChangeVerdict.SLOWER and (one.ratios[0].ratio.low or 0.0) > 1.0 + share
        for one in found
    )
