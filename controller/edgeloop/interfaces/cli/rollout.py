"""``edgeloop rollout start|status|pause|resume|abort|approve``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeloop.interfaces.cli.session import Session, json_option
from edgeloop.interfaces.cli.through_server import server_of

if TYPE_CHECKING:
    from edgeloop.domain.rollout import Rollout, RolloutDevice

__all__ = ["rollout"]

_EXIT_GATE, _EXIT_DEVICE = 1, 3

wait_option = click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Stay for closed windows and devices that are away; else go on later with resume.",
)


@click.group()
def rollout() -> None:
    """Bring a signed release to many devices in waves: gated on canaries, watched, and taken back if it must.

    Exit 0 when it is completed or waits, 1 when it was stopped, 3 when devices could not be taken back. With --server
    URL the server drives it: a verb says how it stands and does not stay.
    """


@rollout.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print who comes in which wave, and do nothing.")
@click.option("--supersede", is_flag=True, help="Take the place of one of this release that is not over.")
@wait_option
@json_option
@click.pass_context
def start(
    ctx: click.Context, plan_file: Path, dry_run: bool, supersede: bool, wait: bool, as_json: bool
) -> None:
    """Start the rollout of PLAN, a TOML file (examples/rollout.toml), and drive it to its end.

    Killed or interrupted, it goes on with ``edgeloop rollout resume``.
    """
    session: Session = ctx.obj
    if server := server_of(session):
        from edgeloop.orchestrate.rollout_verbs import read_plan

        done = server.start_rollout(read_plan(plan_file), supersede=supersede, dry_run=dry_run)
        _show(ctx, done, as_json)
        return
    with session.verbs() as verbs:
        shipping = verbs.shipping
        plan = shipping.read_plan(plan_file)
        laid_out = shipping.lay_out(plan, session.devices(plan.on), _groups(session))
        done = laid_out if dry_run else shipping.start(laid_out, supersede=supersede, wait=wait)
    _show(ctx, done, as_json)


def _groups(session: Session) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in session.entries():
        for group in entry.groups:
            found.setdefault(group, []).append(entry.name)
    return found


@rollout.command()
@click.argument("name", default="")
@json_option
@click.pass_context
def status(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show one rollout with its devices, by identifier or release, or list them all."""
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    kept = server_of(session) or session.plain().shipping
    if name:
        _show(ctx, kept.rollout(name), as_json, judge=False)
        return
    known = kept.rollouts()
    if as_json:
        present.print_json({"rollouts": [_tree(one) for one in known]})
        return
    present.print_table(
        ("rollout", "release", "state", "wave", "devices", "reason"),
        [
            (
                one.rollout_id,
                f"{one.plan.release} {one.counter}",
                _words(one.state.value),
                f"{one.wave + 1} of {len(one.plan.waves)}",
                _counts(one),
                one.reason,
            )
            for one in known
        ],
    )


@rollout.command()
@click.argument("name")
@json_option
@click.pass_context
def pause(ctx: click.Context, name: str, as_json: bool) -> None:
    """Let the rollout NAME begin nothing further; what is under way on a device goes to its end."""
    session: Session = ctx.obj
    server = server_of(session)
    _show(
        ctx, server.act_on_rollout(name, "pause") if server else session.plain().shipping.pause(name), as_json
    )


@rollout.command()
@click.argument("name")
@wait_option
@json_option
@click.pass_context
def resume(ctx: click.Context, name: str, wait: bool, as_json: bool) -> None:
    """Go on with the rollout NAME where it was paused, killed or left."""
    session: Session = ctx.obj
    if server := server_of(session):
        _show(ctx, server.act_on_rollout(name, "resume"), as_json)
        return
    with session.verbs() as verbs:
        done = verbs.shipping.resume(name, wait=wait)
    _show(ctx, done, as_json)


@rollout.command()
@click.argument("name")
@click.option("--keep", is_flag=True, help="Leave the devices that have it as they are.")
@wait_option
@json_option
@click.pass_context
def abort(ctx: click.Context, name: str, keep: bool, wait: bool, as_json: bool) -> None:
    """End the rollout NAME and take the release back from every device that it reached."""
    session: Session = ctx.obj
    if server := server_of(session):
        _show(ctx, server.act_on_rollout(name, "keep" if keep else "abort"), as_json, judge=False)
        return
    with session.verbs() as verbs:
        done = verbs.shipping.abort(name, keep=keep, wait=wait)
    _show(ctx, done, as_json, judge=False)


@rollout.command()
@click.argument("name")
@wait_option
@json_option
@click.pass_context
def approve(ctx: click.Context, name: str, wait: bool, as_json: bool) -> None:
    """Let the wave of NAME that waits begin, or a gate that cannot say count as passed; a failed one never does."""
    session: Session = ctx.obj
    if server := server_of(session):
        _show(ctx, server.act_on_rollout(name, "approve"), as_json)
        return
    with session.verbs() as verbs:
        done = verbs.shipping.approve(name, wait=wait)
    _show(ctx, done, as_json)


def _show(ctx: click.Context, one: Rollout, as_json: bool, *, judge: bool = True) -> None:
    from edgeloop.domain.rollout import RolloutState
    from edgeloop.interfaces import present

    if as_json:
        present.print_json(_tree(one))
    else:
        why = f": {one.reason}" if one.reason else ""
        present.print_text(
            f"{one.rollout_id}: {one.plan.release} {one.counter} ({one.artifact_digest[:12]}) "
            f"is {_words(one.state.value)}, wave {one.wave + 1} of {len(one.plan.waves)}{why}"
        )
        present.print_table(
            ("wave", "device", "phase", "served before", "remark"),
            [_row(one, device) for device in one.devices],
        )
        for device in one.devices:
            for sentence in device.gate:
                present.print_text(f"gate on {device.spec.name}: {sentence}")
    if not judge:
        return
    if one.state is RolloutState.BACK_INCOMPLETE:
        ctx.exit(_EXIT_DEVICE)
    if one.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK, RolloutState.EXPIRED):
        ctx.exit(_EXIT_GATE)


def _tree(one: Rollout) -> dict[str, Any]:
    from edgeloop_protocol.convert import to_json

    return to_json(one)


def _row(one: Rollout, device: RolloutDevice) -> tuple[str, ...]:
    wave = one.plan.waves[device.wave].name or str(device.wave + 1)
    return (
        f"{wave} ({device.group})" if device.group else wave,
        device.spec.name,
        device.phase.value,
        device.before_digest[:12] or "-",
        device.reason or device.certificate,
    )


def _counts(one: Rollout) -> str:
    phases = [device.phase.value for device in one.devices]
    return ", ".join(f"{phases.count(phase)} {phase}" for phase in dict.fromkeys(phases))


def _words(text: str) -> str:
    return text.replace("_", " ")
