"""What every verb needs: the configuration, the API and the listener."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec
    from edgeloop.domain.inventory import InventoryEntry
    from edgeloop.domain.turn import Turn
    from edgeloop.interfaces.api import Edgeloop
    from edgeloop.interfaces.config import Config
    from edgeloop.interfaces.settings import Measurement
    from edgeloop.store.devices import DeviceBook

__all__ = [
    "Session",
    "json_option",
    "on_option",
    "seed_option",
    "state_option",
    "threads_option",
    "turn_options",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The options that stand before the verb."""

    config_file: Path | None
    home: Path | None
    quiet: bool
    #: The inventory's file, when ``--inventory`` names one.
    inventory_file: Path | None = None
    #: The API to use instead of one of our own, for programs that embed the command line.
    given: Edgeloop | None = None
    #: How to queue for busy devices, when ``--wait`` or ``--priority`` says so.
    turn: Turn | None = None
    #: Address of a server, when ``--server`` or EDGELOOP_SERVER names one; empty for none, whatever the file says.
    server: str | None = None

    def config(self) -> Config | None:
        """Return the configuration; None when none is named and none is in the current directory.

        Raises:
            NotFoundError: the named file does not exist.
            InvalidInputError: it cannot be used.
        """
        default = Path("edgeloop.toml")
        if self.config_file is None and not default.exists():
            return None
        from edgeloop.interfaces.config import load_config

        return load_config(self.config_file or default)

    def directory(self) -> Path:
        """Return the controller's home."""
        from edgeloop.app import default_state_directory

        return self.home.absolute() if self.home is not None else default_state_directory()

    def devices(self, words: Sequence[str]) -> tuple[DeviceSpec, ...]:
        """Return the devices that ``--on`` names, or those of the configuration; names may be of added ones."""
        from edgeloop.interfaces.options import parse_devices

        config = self.config()
        return parse_devices(
            words or (config.experiment.on if config else ()),
            config,
            self.plain().fleet_devices,
            self.added(),
            self._choose,
        )

    def state_directory(self) -> Path:
        """Return the controller's home."""
        from edgeloop.app import default_state_directory

        return self.home.absolute() if self.home else default_state_directory()

    def added(self) -> dict[str, DeviceSpec]:
        """Return the devices that were added, by name."""
        return self.book().devices()

    def book(self) -> DeviceBook:
        """Return the inventory: the file of ``--inventory``, that of the configuration, or ``devices.toml`` at home."""
        from edgeloop.store.devices import DeviceBook

        return DeviceBook(self.state_directory(), path=self.inventory_path())

    def inventory_path(self) -> Path | None:
        """Return the file that is named as the inventory; None when none is."""
        if self.inventory_file is not None:
            return self.inventory_file.absolute()
        config = self.config()
        if config is None or not config.inventory:
            return None
        return self.beside_config(config.inventory)

    def beside_config(self, path: str) -> Path:
        """Return a path as written in the configuration file, so seen from where that file is."""
        return (self.config_file or Path("edgeloop.toml")).absolute().parent / path

    def server_url(self) -> str:
        """Return the address of the server that verbs go through; empty when none is named."""
        if self.server is not None:
            return self.server.strip()
        config = self.config()
        return config.server if config is not None else ""

    def entries(self) -> tuple[InventoryEntry, ...]:
        """Return the named devices: those of the inventory, and those of the configuration, which win."""
        known, config = self.book().entries(), self.config()
        return tuple(known.values()) if config is None else config.with_devices(known)

    def _choose(self, conditions: Sequence[tuple[int, str]]) -> tuple[DeviceSpec, ...]:
        from edgeloop.orchestrate.inventory import choose_devices

        selection = choose_devices(self.state_directory(), self.entries(), conditions)
        for note in selection.notes:
            click.echo(note, err=True)
        return tuple(entry.spec for entry in selection.chosen)

    def measurement(self, words: Mapping[str, Any]) -> Measurement:
        """Return how to measure, from the options of a measuring verb and the configuration.

        Raises:
            InvalidInputError: a word cannot be read, or two of them do not go together.
        """
        from edgeloop.interfaces.settings import measurement

        return measurement(words, self.config())

    def plain(self) -> Edgeloop:
        """Return the API without progress."""
        from edgeloop.interfaces.api import Edgeloop

        return self.given or Edgeloop(self.home)

    @contextlib.contextmanager
    def verbs(self) -> Iterator[Edgeloop]:
        """Yield the API, with progress on standard error while it works."""
        if self.given is not None:
            yield self.given.with_turn(self.turn) if self.turn is not None else self.given
            return
        from edgeloop.interfaces.api import Edgeloop

        if self.quiet:
            yield Edgeloop(self.home, turn=self.turn)
            return
        from edgeloop.interfaces.progress import ProgressListener

        with ProgressListener() as listener:
            yield Edgeloop(self.home, listener, turn=self.turn)


def _keep_turn(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep ``--wait`` or ``--priority`` in the session of this verb."""
    if value is None:
        return
    from edgeloop.domain.turn import Turn
    from edgeloop.interfaces.options import parse_duration_s

    session: Session = ctx.obj
    turn = session.turn or Turn()
    if parameter.name == "wait":
        turn = replace(turn, wait_s=parse_duration_s(value, zero=True))
    else:
        turn = replace(turn, priority=value)
    ctx.obj = replace(session, turn=turn)


def turn_options(command: F) -> F:
    """Add ``--wait`` and ``--priority`` to a verb that measures; its session knows them then."""
    wait = click.option(
        "--wait",
        metavar="TIME",
        expose_value=False,
        callback=_keep_turn,
        help="How long to queue for a busy device, for example 10m; default 30s, 0s for not at all.",
    )
    priority = click.option(
        "--priority",
        type=click.IntRange(-100, 100),
        metavar="N",
        expose_value=False,
        callback=_keep_turn,
        help="Place in that queue: a higher one goes first, equals in the order they came; default 0.",
    )
    return wait(priority(command))


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
on_option = click.option(
    "--on",
    multiple=True,
    metavar="DEVICES",
    help="local, sim:PROFILE, fleet:NAME[/BOARD], unix:PATH, grpc://HOST:PORT, ssh:USER@HOST, or the name of an added "
    "or configured device; or conditions that must all hold, like arch=aarch64,ram>=4GB, group=lab; comma list, "
    "repeatable.",
)
state_option = click.option(
    "--state",
    multiple=True,
    metavar="OUT:IN",
    help="An output that is fed back as an input at the next step; repeatable.",
)
seed_option = click.option("--seed", type=int, default=None, help="Seed of everything random.")
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="Threads within one operator."
)
