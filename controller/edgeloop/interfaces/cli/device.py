"""``edgeloop device facts|doctor|calibrate|enrol``, and the verbs for boards and the inventory."""

from __future__ import annotations

from pathlib import Path

import click

from edgeloop.interfaces.cli.board import add, remove, upgrade
from edgeloop.interfaces.cli.discover import discover
from edgeloop.interfaces.cli.drain import cool_down, drain, quarantine, undrain
from edgeloop.interfaces.cli.enrol import enrol
from edgeloop.interfaces.cli.inventory import group, label, list_devices
from edgeloop.interfaces.cli.session import Session, json_option, on_option, turn_options
from edgeloop.interfaces.cli.watch import watch

__all__ = ["device"]


@click.group()
def device() -> None:
    """Add boards, list devices, show their facts, look them over."""


for _verb in (
    add,
    upgrade,
    remove,
    list_devices,
    label,
    group,
    watch,
    discover,
    drain,
    undrain,
    cool_down,
    quarantine,
):
    device.add_command(_verb)


device.add_command(enrol)


@device.command()
@on_option
@json_option
@click.option(
    "--probe",
    "probing",
    is_flag=True,
    help="Measure for about a minute: channel blocks, int8 encodings, fp16, threads, memory bandwidth.",
)
@turn_options
@click.pass_context
def facts(ctx: click.Context, on: tuple[str, ...], as_json: bool, probing: bool) -> None:
    """Show what devices found out about themselves; exit 3 when one does not answer."""
    from edgeloop_foundation.errors import InvalidInputError

    from edgeloop.interfaces import present

    session: Session = ctx.obj
    if session.turn is not None and not probing:
        raise InvalidInputError(
            "facts are told at once, without queueing.", next_step="--wait and --priority go with --probe."
        )
    specs = session.devices(on)
    with session.verbs() as verbs:
        if probing:
            from edgeloop.interfaces.present_probe import print_probes

            probed = verbs.probe(specs)
            print_probes(probed, as_json)
            ctx.exit(3 if any(answers is None for _, answers, _ in probed) else 0)
        found = verbs.facts(specs)
    if as_json:
        rows = [{"device": spec, "facts": known, "reason": reason} for spec, known, reason in found]
        present.print_json({"devices": rows})
    else:
        present.print_facts(found)
    if any(known is None for _, known, _ in found):
        ctx.exit(3)


@device.command()
@on_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, on: tuple[str, ...], as_json: bool) -> None:
    """Look devices over, with a next step for each finding; exit 1 when one prevents measuring."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    specs = session.devices(on)
    with session.verbs() as verbs:
        found = verbs.doctor(specs)
    if as_json:
        rows = [{"device": spec, "findings": findings} for spec, findings in found]
        present.print_json({"devices": rows})
    else:
        present.print_doctor(found)
    if any(finding.level == "error" for _, findings in found for finding in findings):
        ctx.exit(1)


@device.command()
@on_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.toml",
    help="Profile to write; use it as --on sim:FILE.toml.",
)
@click.option(
    "--base", default="", metavar="PROFILE", help="Profile of a device of the same tier to start from."
)
@click.option(
    "--transfer",
    default="",
    metavar="FROM.toml",
    help="Calibrated profile of a device of the same tier: measures five models only, and starts from it.",
)
@turn_options
@json_option
@click.pass_context
def calibrate(
    ctx: click.Context, on: tuple[str, ...], output: Path, base: str, transfer: str, as_json: bool
) -> None:
    """Measure ten models on a real device and write the profile that is fitted to it."""
    from edgeloop_foundation.errors import InvalidInputError

    from edgeloop.interfaces.present_probe import print_calibrated

    if base and transfer:
        raise InvalidInputError(
            "--base and --transfer both name where to start from; allowed is one of them."
        )
    session: Session = ctx.obj
    specs = session.devices(on)
    if len(specs) != 1:
        raise InvalidInputError(f"one device is calibrated at a time, {len(specs)} are named.")
    with session.verbs() as verbs:
        print_calibrated(
            verbs.calibrate(specs[0], output, transfer or base, transfer=bool(transfer)), as_json
        )
