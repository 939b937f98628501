"""``edgeloop device list|label|group``: the inventory; only ``list --live`` asks the devices."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import click

from edgeloop.interfaces.cli.session import Session, json_option
from edgeloop.interfaces.cli.through_server import server_of

if TYPE_CHECKING:
    from edgeloop.domain.inventory import InventoryEntry
    from edgeloop.orchestrate.devices import Standing

__all__ = ["group", "label", "list_devices"]


@click.command("list")
@click.option(
    "--live", is_flag=True, help="Ask every named device too whether it is free, held, drained or away."
)
@json_option
@click.pass_context
def list_devices(ctx: click.Context, live: bool, as_json: bool) -> None:
    """List this machine, the named devices with what is last known of them, and the boards to simulate.

    "last known" is whether a device was in use or drained when a verb or the server asked it last, and how long ago.

    With --server URL: the devices that the server watches, as it saw them last.
    """
    from edgeloop_profiles import list_profiles

    from edgeloop.domain.device import DeviceSpec
    from edgeloop.domain.inventory import InventoryEntry
    from edgeloop.interfaces import present
    from edgeloop.interfaces.present_inventory import list_rows, print_inventory
    from edgeloop.orchestrate.inventory import known_availability, known_facts

    session: Session = ctx.obj
    if server := server_of(session):
        from edgeloop.interfaces.present_inventory import print_watched

        print_watched(server.devices(), as_json=as_json)
        return
    entries = (InventoryEntry(spec=DeviceSpec.parse("local")), *session.entries())
    known = known_facts(session.state_directory(), entries)
    standings = _ask(session, entries) if live else None
    use = known_availability(session.state_directory(), entries)
    if as_json:
        rows = list_rows(entries, known, use, time.time(), standings)
        present.print_json({"devices": rows, "profiles": list_profiles()})
        return
    print_inventory(entries, known, use, time.time(), standings)
    present.print_text(f"To simulate: {', '.join(f'sim:{name}' for name in list_profiles())}")


def _ask(session: Session, entries: tuple[InventoryEntry, ...]) -> dict[str, Standing]:
    """Ask the devices whose agents run by themselves; the others live as long as the command that uses them."""
    specs = [entry.spec for entry in entries if entry.spec.transport not in ("local", "simulated")]
    with session.verbs() as verbs:
        found = verbs.standings(specs)
    return {spec.name: standing for spec, standing in zip(specs, found, strict=True)}


@click.command()
@click.argument("name")
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.pass_context
def label(ctx: click.Context, name: str, pairs: tuple[str, ...]) -> None:
    """Label a device of the inventory; KEY= takes a label off."""
    from edgeloop_foundation.errors import InvalidInputError

    session: Session = ctx.obj
    entry = session.book().entry(name)
    labels = dict(entry.labels)
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not (key and sign):
            raise InvalidInputError(f"a label is written KEY=VALUE, found {pair!r}.")
        if value:
            labels[key] = value
        elif labels.pop(key, None) is None:
            raise InvalidInputError(f"device {name} has no label {key!r}; it has {_words(labels)}.")
    _keep(session, dataclasses.replace(entry, labels=tuple(sorted(labels.items()))))


@click.command()
@click.argument("name")
@click.argument("names", nargs=-1, required=True, metavar="GROUP...")
@click.option("--leave", is_flag=True, help="Take the device out of the groups instead.")
@click.pass_context
def group(ctx: click.Context, name: str, names: tuple[str, ...], leave: bool) -> None:
    """Put a device of the inventory into groups."""
    from edgeloop_foundation.errors import InvalidInputError

    session: Session = ctx.obj
    entry = session.book().entry(name)
    absent = sorted(set(names) - set(entry.groups)) if leave else []
    if absent:
        raise InvalidInputError(
            f"device {name} is not in group {absent[0]!r}; it is in {', '.join(entry.groups) or 'none'}."
        )
    groups = set(entry.groups) - set(names) if leave else {*entry.groups, *names}
    _keep(session, dataclasses.replace(entry, groups=tuple(sorted(groups))))


def _words(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "none"


def _keep(session: Session, entry: InventoryEntry) -> None:
    session.book().put_entry(entry)
    click.echo(
        f"{entry.name}: labels {_words(dict(entry.labels))}; groups {', '.join(entry.groups) or 'none'}"
    )
