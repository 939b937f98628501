"""``edgeloop release init|sign|list|rotate``, ``edgeloop deploy``, ``edgeloop deployment``, ``edgeloop audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from edgeloop_protocol.types.isolation_tier import TIERS

from edgeloop.interfaces.cli.serving import serve, serving, stop
from edgeloop.interfaces.cli.session import Session, json_option, on_option, turn_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeloop.orchestrate.deploy import Deployed

__all__ = ["audit", "deploy", "deployment", "release"]

_EXIT_GATE, _EXIT_DEVICE = 1, 3

keys_option = click.option(
    "--keys",
    type=click.Path(path_type=Path),
    help="Directory with the keys of root and release, for example on a stick; default: HOME/release/keys.",
)


@click.group()
def release() -> None:
    """Sign what may be deployed: make the keys, sign artifacts, replace keys.

    $EDGELOOP_RELEASE_PASSPHRASE locks the keys of root and release.
    """


@release.command("init")
@keys_option
@json_option
@click.pass_context
def init(ctx: click.Context, keys: Path | None, as_json: bool) -> None:
    """Make the keys: two of the root, one that releases, two of the controller that can release nothing."""
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.deploy import audit_log, repository

    session: Session = ctx.obj
    home = session.directory()
    log = audit_log(home)
    fingerprint = repository(home, keys).create()
    log.append("release init", "root", "created", root=fingerprint)
    if as_json:
        present.print_json({"root": fingerprint, "keys": str(keys or home / "release" / "keys")})
    else:
        present.print_text(f"root SHA-256 {fingerprint}")
        present.print_text(f"keep the keys in {keys or home / 'release' / 'keys'} away from this machine")
        present.print_text("next: edgeloop release sign ARTIFACT --name NAME")


@release.command()
@click.argument("artifact")
@click.option("--name", required=True, help="Name of the deployment: lower-case letters, digits, hyphens.")
@click.option(
    "--device", "devices", multiple=True, help="Only for this device, by name or identifier; repeatable."
)
@click.option("--arch", "architectures", multiple=True, help="Only for this architecture; repeatable.")
@click.option("--runtime", default="onnxruntime", show_default=True, help="Runtime that opens it.")
@click.option("--runtime-min", default="", help="Lowest version of the runtime.")
@click.option("--runtime-below", default="", help="First version of the runtime that is too new.")
@click.option(
    "--isolation", type=click.Choice(TIERS), help="Weakest tier of isolation in which a device may open it."
)
@click.option(
    "--max-memory-mb",
    type=click.IntRange(min=1),
    help="Most resident memory of its process, which dies above it.",
)
@click.option(
    "--max-processes", type=click.IntRange(min=1), help="Most threads and processes of what opens it."
)
@click.option(
    "--max-step-s",
    type=click.IntRange(min=1),
    help="Longest that one load or one run may take; its process is killed then. Default: 120 s.",
)
@click.option(
    "--max-latency-ms", type=click.FloatRange(min=0.001), help="Longest median latency on the device."
)
@keys_option
@json_option
@click.pass_context
def sign(
    ctx: click.Context, /, artifact: str, name: str, keys: Path | None, as_json: bool, **words: Any
) -> None:
    """Let NAME stand for the kept ARTIFACT from now on; signing an older one again goes back on purpose."""
    from edgeloop.app import App
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.deploy import Selectors
    from edgeloop.orchestrate.deploy import sign as sign_artifact

    session: Session = ctx.obj
    selectors = Selectors(
        devices=words["devices"],
        architectures=words["architectures"],
        runtime=words["runtime"],
        runtime_version_min=words["runtime_min"],
        runtime_version_below=words["runtime_below"],
        memory_bytes_max=(words["max_memory_mb"] or 0) * 1_000_000,
        latency_us_max=round((words["max_latency_ms"] or 0.0) * 1000),
        isolation=words["isolation"] or "",
        process_count_max=words["max_processes"] or 0,
        step_s_max=words["max_step_s"] or 0,
    )
    with App.open(session.directory()) as app:
        terms = sign_artifact(app, artifact, name, selectors, keys)
    if as_json:
        present.print_json({"name": name, "terms": terms})
    else:
        present.print_text(f"{name}: release {terms.counter} is signed")
        present.print_text(f"next: edgeloop deploy {name} --on DEVICES")


@release.command("list")
@json_option
@click.pass_context
def list_releases(ctx: click.Context, as_json: bool) -> None:
    """List what each name stands for."""
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.deploy import repository

    session: Session = ctx.obj
    found = repository(session.directory()).releases()
    if as_json:
        present.print_json(
            {
                "releases": [
                    {"name": name, "artifact": digest, "terms": terms} for name, digest, terms in found
                ]
            }
        )
        return
    present.print_table(
        ("name", "release", "artifact", "devices", "architectures", "isolation"),
        [
            (
                name,
                str(t.counter),
                digest[:12],
                ", ".join(t.devices) or "all",
                ", ".join(t.architectures) or "all",
                t.isolation or "any",
            )
            for name, digest, t in found
        ],
    )


@release.command()
@click.argument("role", type=click.Choice(["root", "targets", "snapshot", "timestamp"]))
@keys_option
@click.pass_context
def rotate(ctx: click.Context, role: str, keys: Path | None) -> None:
    """Replace the keys of a role; devices follow with their next deployment. ``targets`` is the release key."""
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.deploy import audit_log, repository

    session: Session = ctx.obj
    log = audit_log(session.directory())
    version = repository(session.directory(), keys).rotate(role)
    log.append("release rotate", role, "replaced", root_version=version)
    present.print_text(f"{role}: new keys, root version {version}")


@click.command()
@click.argument("name")
@on_option
@click.option(
    "--trial", "trial_s", type=click.FloatRange(0, 3600), default=5.0, show_default=True,
    help="Seconds that the new version is watched before it is committed.",
)  # fmt: skip
@turn_options
@json_option
@click.pass_context
def deploy(ctx: click.Context, name: str, on: tuple[str, ...], trial_s: float, as_json: bool) -> None:
    """Install the signed release NAME: verified, probed there, watched on trial, committed or rolled back.

    Exit 1 when a device did not commit it, 3 when one could not be reached.
    """
    from edgeloop.app import App
    from edgeloop.orchestrate.deploy import deploy as bring

    session: Session = ctx.obj
    specs = session.devices(on)
    with App.open(session.directory()) as app:
        app.turn = session.turn or app.turn
        done = _run(bring(app, name, specs, trial_s=trial_s))
    _show(ctx, done, as_json)


def _run(work: Any) -> Any:
    import asyncio

    return asyncio.run(work)


def _show(ctx: click.Context, done: Sequence[Deployed], as_json: bool) -> None:
    from edgeloop.interfaces import present

    if as_json:
        present.print_json(
            {
                "devices": [
                    {
                        "device": one.device.name,
                        "deployments": one.statuses,
                        "error": one.error,
                        "note": one.note,
                    }
                    for one in done
                ]
            }
        )
    else:
        present.print_table(
            ("device", "name", "state", "serves", "before", "switch", "remark"),
            [row for one in done for row in _rows(one)],
        )
    for note in sorted({one.note for one in done if one.note}):
        click.echo(f"edgeloop: {note}", err=True)
    if any(one.error and not one.statuses for one in done):
        ctx.exit(_EXIT_DEVICE)
    if any(one.error for one in done):
        ctx.exit(_EXIT_GATE)


def _rows(one: Deployed) -> list[tuple[str, ...]]:
    pinned = "trusts this release root from now on; " if one.pinned_now else ""
    if not one.statuses:
        return [(one.device.name, "-", "-", "-", "-", "-", pinned + (one.error or "no deployments"))]
    return [
        (
            one.device.name,
            status.name,
            status.state.value,
            _version(status.current_counter, status.current_digest),
            _version(status.previous_counter, status.previous_digest),
            "-" if status.switch_s is None else f"{status.switch_s * 1e3:.1f} ms",
            pinned + (status.reason or status.measured),
        )
        for status in one.statuses
    ]


def _version(counter: int, digest: str) -> str:
    return f"{counter} ({digest[:12]})" if digest else "-"


@click.group()
def deployment() -> None:
    """Look at what devices have installed, serve it, go back, end an installation."""


for _verb in (serve, serving, stop):
    deployment.add_command(_verb)


@deployment.command()
@on_option
@json_option
@click.pass_context
def status(ctx: click.Context, on: tuple[str, ...], as_json: bool) -> None:
    """Show what each device serves, what came before, and how the last installation went."""
    from edgeloop.app import App
    from edgeloop.orchestrate.deploy import statuses

    session: Session = ctx.obj
    with App.open(session.directory()) as app:
        done = _run(statuses(app, session.devices(on)))
    _show(ctx, done, as_json)


@deployment.command()
@click.argument("name")
@on_option
@json_option
@click.pass_context
def rollback(ctx: click.Context, name: str, on: tuple[str, ...], as_json: bool) -> None:
    """Go back to the version of NAME before the committed one."""
    from edgeloop.app import App
    from edgeloop.orchestrate.deploy import roll_back

    session: Session = ctx.obj
    with App.open(session.directory()) as app:
        done = _run(roll_back(app, name, session.devices(on)))
    _show(ctx, done, as_json)


@deployment.command()
@click.argument("name")
@on_option
@json_option
@click.pass_context
def cancel(ctx: click.Context, name: str, on: tuple[str, ...], as_json: bool) -> None:
    """End an installation of NAME under way; what served before it serves again."""
    from edgeloop.app import App
    from edgeloop.orchestrate.deploy import cancel as end

    session: Session = ctx.obj
    with App.open(session.directory()) as app:
        done = _run(end(app, name, session.devices(on)))
    _show(ctx, done, as_json)


@click.group()
def audit() -> None:
    """The log of who signed, deployed and rolled back what."""


@audit.command()
@click.option(
    "--known", default="", metavar="HEAD", help="A head printed earlier, which must be among the lines."
)
@json_option
@click.pass_context
def verify(ctx: click.Context, known: str, as_json: bool) -> None:
    """Check that no line of the log was changed, moved, taken out or cut off; exit 3 when one was.

    What a crash left of a line that was never acknowledged breaks nothing: it is said, and the next line sets it aside.
    """
    from edgeloop.interfaces import present
    from edgeloop.orchestrate.deploy import audit_log

    session: Session = ctx.obj
    found = audit_log(session.directory()).verify(known)
    if as_json:
        present.print_json({"entries": found.count, "head": found.head, "torn_bytes": found.torn_bytes})
        return
    present.print_text(f"{found.count} entries, unbroken; head {found.head}")
    if found.torn_bytes:
        present.print_text(
            f"Behind them are {found.torn_bytes} bytes of a line that a crash cut and that was never acknowledged: "
            "harmless; the next line sets them aside and says so."
        )
