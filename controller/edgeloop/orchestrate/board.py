"""A board added, upgraded and removed: probe, plan, send, build, switch, greet; the way back when nobody answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeloop_foundation.errors import (
    BusyError,
    CancelledByUserError,
    EdgeloopError,
    InvalidInputError,
    StateError,
    UnauthenticatedError,
    UnsupportedError,
)
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.lease import holder_text

from edgeloop.domain.device import DeviceSpec
from edgeloop.orchestrate.enrol_board import LEFT_ALONE, Enrolment, plan_enrolment, what_stays
from edgeloop.orchestrate.inventory import keep_facts_quietly
from edgeloop.store.devices import DeviceBook
from edgeloop.transport.base import connect
from edgeloop.transport.bootstrap import steps
from edgeloop.transport.bootstrap.board_facts import BoardFacts, parse_probe, probe_script
from edgeloop.transport.bootstrap.bundle import Bundle, make_bundle
from edgeloop.transport.bootstrap.layout import Keeper, choose_layout
from edgeloop.transport.bootstrap.wheels import board_wheels
from edgeloop.transport.ssh import ssh_connection
from edgeloop.transport.ssh_link import trust
from edgeloop.transport.ssh_link.route import parse_address

if TYPE_CHECKING:
    from pathlib import Path

    from edgeloop.transport.ssh_link.connection import SshConnection

__all__ = [
    "AddRequest",
    "Dialog",
    "ReadyDevice",
    "add_device",
    "open_board",
    "remove_device",
    "upgrade_device",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PROBE_S = 120.0
# What the steps leave free besides the agent itself.
_DISK_RESERVE_BYTES = 256 << 20


class Dialog(Protocol):
    """Who is told and asked; a terminal, or nobody."""

    def tell(self, line: str) -> None:
        """Show one line."""

    def confirm_key(self, host: str, kind: str, fingerprint: str) -> bool:
        """Return whether a person says that this is the board's key; False when nobody can be asked."""
        ...

    def confirm_steps(self) -> bool:
        """Return whether to go on after the steps were shown."""
        ...

    def sent(self, done: int, total: int) -> None:
        """Take note of bytes sent, of how many in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRequest:
    """A board to be added."""

    #: ``[USER@]HOST[:PORT]``, or a name from the SSH configuration.
    address: str
    #: Name in the inventory; the host's first label when empty.
    name: str = ""
    #: Fingerprint that the board's key must have.
    host_key: str = ""
    jump: str = ""
    key: str = ""
    #: SSH configuration to honour; the user's own when empty.
    ssh_config: str = ""
    #: Whether root's rights may be used where they are to be had without a password.
    sudo_allowed: bool = True
    #: Most memory that the agent may take, as systemd writes it; empty for no wish.
    memory_max: str = ""
    #: Strongest tier of isolation of its runners; empty for what it was added with, or the agent's default.
    isolation: str = ""
    #: File of the inventory; ``devices.toml`` in the home when absent.
    inventory: Path | None = None
    #: Show the steps and change nothing.
    dry_run: bool = False
    #: Whether the board gets an identity where there is an authority.
    enrol: bool = True

    def spec(self) -> DeviceSpec:
        """Return the device as the inventory has it.

        Raises:
            InvalidInputError: the address or the name cannot be used.
        """
        _, host, _ = parse_address(self.address)
        name = self.name or (host if re.fullmatch(r"[\d.:]+", host) else host.partition(".")[0]).replace(
            ":", "-"
        )
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                f"{name!r} is no name for a device: letters, digits, dots, dashes.",
                next_step="Give one with --name.",
            )
        options = {"jump": self.jump, "key": self.key, "ssh_config": self.ssh_config}
        pairs = tuple(sorted((key, value) for key, value in options.items() if value))
        return DeviceSpec(name=name, transport="ssh", address=self.address, options=pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyDevice:
    """A board whose agent answers."""

    spec: DeviceSpec
    #: What its agent found out; None after a dry run.
    facts: Facts | None
    #: Who keeps the agent running, in words.
    keeper: str
    #: Bytes that were sent this time.
    sent_bytes: int = 0
    #: Whether an agent was started, anew or for the first time.
    changed: bool = True
    #: What became of its identity, one line; empty when nothing was to become of it.
    enrolment: str = ""

    def line(self) -> str:
        """Return the device in one line."""
        if self.facts is None:
            return f"{self.spec.name}: nothing was changed (dry run)"
        system = self.facts.operating_system
        runtimes = [f"{r.name} {r.version}" for r in self.facts.runtimes if not r.reason]
        parts = [self.facts.hardware.architecture, system.name, f"Python {system.python_version}", *runtimes]
        return f"{self.spec.name}: ready, {', '.join(parts)}; {self.keeper}"


def open_board(spec: DeviceSpec, home: Path, dialog: Dialog, host_key: str = "") -> SshConnection:
    """Return an open connection to a board; its key is known, pinned, or confirmed by a person.

    Use its ``run``, ``check`` and ``put`` for whatever else has to be done there over the same connection.

    Raises:
        UnauthenticatedError: nobody vouches for the key, it has changed, or we are not let in.
        UnavailableError: the board or a jump host cannot be reached.
    """
    connection = ssh_connection(spec, home, pin=trust.check_pin(host_key) if host_key else "")
    try:
        connection.open()
    except trust.UnknownHostKeyError as error:
        shown = trust.fingerprint(error.key)
        if not dialog.confirm_key(connection.route[-1].host, error.key.get_name(), shown):
            raise
        connection.vouch(error.key)
        connection.open()
    return connection


def add_device(home: Path, request: AddRequest, dialog: Dialog) -> ReadyDevice:
    """Set the agent up on a board and write the board into the inventory; again and again without harm.

    Raises:
        EdgeloopError: a step failed; the sentence says which and what to do. Run again, it goes on from there.
    """
    spec = request.spec()
    known = DeviceBook(home, path=request.inventory).devices().get(spec.name)
    if known is not None and known.address != spec.address:
        raise InvalidInputError(
            f"the name {spec.name} belongs to {known.transport}:{known.address}.",
            next_step=f"Give another with --name, or: edgeloop device remove {spec.name}",
        )
    # Before anything is touched: a name that no identity can have is said now.
    enrolment = plan_enrolment(home, spec.name, wanted=request.enrol)
    connection = open_board(spec, home, dialog, request.host_key)
    try:
        if not request.dry_run:
            connection.remember_key()
        return _Setup(home, spec, request, connection, dialog, enrolment).run()
    finally:
        connection.close()


def upgrade_device(
    home: Path, name: str, dialog: Dialog, *, dry_run: bool = False, inventory: Path | None = None
) -> ReadyDevice:
    """Bring the agent of an added device to this controller's version, or leave the one that answers.

    Raises:
        NotFoundError: no such device was added.
        BusyError: somebody holds the device.
        EdgeloopError: the new agent does not answer; the previous one runs again.
    """
    spec = _ssh_device(home, name, inventory)
    options = dict(spec.options)
    request = AddRequest(
        address=spec.address,
        name=name,
        dry_run=dry_run,
        inventory=inventory,
        sudo_allowed=options.get("service") in ("", None, "system"),
    )
    connection = open_board(spec, home, dialog)
    try:
        return _Setup(home, spec, request, connection, dialog).run()
    finally:
        connection.close()


def remove_device(
    home: Path, name: str, dialog: Dialog, *, dry_run: bool = False, inventory: Path | None = None
) -> None:
    """Remove the agent and all it has from a board, and the board from the inventory.

    Raises:
        NotFoundError: no such device was added.
        EdgeloopError: a step failed; the device stays in the inventory.
    """
    spec = _ssh_device(home, name, inventory)
    connection = open_board(spec, home, dialog)
    try:
        layout = choose_layout(_probe(connection), sudo_allowed=dict(spec.options).get("service") != "user")
        plan = steps.remove(layout)
        for step in plan:
            dialog.tell(f"  {step.title}")
        if stays := what_stays(home, name):
            dialog.tell(stays)
        if dry_run:
            return
        if not dialog.confirm_steps():
            raise CancelledByUserError("nothing was removed.")
        for step in plan:
            _perform(connection, step)
        board = connection.route[-1]
    finally:
        connection.close()
    DeviceBook(home, path=inventory).remove(name)
    trust.forget(home, trust.known_name(board.host, board.port))


def _ssh_device(home: Path, name: str, inventory: Path | None) -> DeviceSpec:
    spec = DeviceBook(home, path=inventory).get(name)
    if spec.transport != "ssh":
        raise InvalidInputError(f"device {name} is reached by {spec.transport}, not over SSH.")
    return spec


def _probe(connection: SshConnection) -> BoardFacts:
    return parse_probe(connection.run("sh -s", stdin=probe_script(), timeout_s=_PROBE_S).stdout)


def _perform(connection: SshConnection, step: steps.Step) -> str:
    return connection.check(
        step.command, what=step.title, stdin=step.stdin, sudo=step.sudo, timeout_s=step.timeout_s
    )


async def _greet(spec: DeviceSpec, home: Path) -> Facts:
    async with connect(spec, home) as client:
        return await client.describe()


async def _holder(spec: DeviceSpec, home: Path) -> str:
    async with connect(spec, home) as client:
        return holder_text(await client.list_leases())


class _Setup:
    """One board being set up or upgraded."""

    def __init__(
        self,
        home: Path,
        spec: DeviceSpec,
        request: AddRequest,
        connection: SshConnection,
        dialog: Dialog,
        enrolment: Enrolment = LEFT_ALONE,
    ) -> None:
        self._home = home
        self._request = request
        self._connection = connection
        self._dialog = dialog
        self._enrolment = enrolment
        self._facts = _probe(connection)
        dialog.tell(self._facts.headline())
        self._python = self._facts.python()
        self._layout = choose_layout(self._facts, sudo_allowed=request.sudo_allowed)
        service = (("service", "system" if self._layout.keeper is Keeper.SYSTEM else "user"),)
        # What was declared once stays until something else is.
        self._before = tuple(
            _perform(connection, kept(self._layout)).strip()
            for kept in (steps.declared_memory, steps.declared_isolation)
        )
        self._memory_max = request.memory_max or self._before[0]
        self._isolation = request.isolation or self._before[1]
        if self._isolation == "systemd" and self._layout.keeper is not Keeper.SYSTEM:
            raise UnsupportedError(
                f"the tier systemd is a unit of the system, and the agent there is {self._layout.words}.",
                next_step="Let sudo work there without a password, and leave --no-sudo out; or use another tier.",
            )
        rest = tuple(pair for pair in spec.options if pair[0] not in ("service", "socket"))
        options = tuple(sorted((*rest, *service, ("socket", self._layout.socket))))
        self._spec = DeviceSpec(name=spec.name, transport="ssh", address=spec.address, options=options)

    def run(self) -> ReadyDevice:
        layout, path = self._layout, self._python.path
        bundle = self._bundle()
        current, previous = self._facts.versions_at(layout.root)
        before = [steps.prepare(layout)]
        after = [
            steps.build(layout, path, bundle.digest),
            *self._kept_running(self._memory_max, self._isolation),
            steps.switch(layout, path, bundle.digest),
            steps.start(layout, self._spec.name, self._isolation),
        ]
        self._show(bundle, (*before, *after, steps.tidy(layout, path)))
        if self._request.dry_run:
            return ReadyDevice(spec=self._spec, facts=None, keeper=layout.words, changed=False)
        if not self._dialog.confirm_steps():
            raise CancelledByUserError("nothing was changed on the board.")
        as_before = self._before == (self._memory_max, self._isolation)
        if current == bundle.digest and as_before and (facts := self._answer()):
            return self._ready(facts, changed=False)
        if current and (holder := self._asked_holder()):
            raise BusyError(
                f"{self._spec.name} is held by {holder}.", next_step="Wait for the end of that run."
            )
        sent = 0
        if bundle.digest not in (current, previous):
            self._require_room(bundle)
            self._perform(before)
            sent = self._send(bundle)
        try:
            self._perform(after)
            facts = asyncio.run(_greet(self._spec, self._home))
        except EdgeloopError as error:
            raise self._returned(error, current) from error
        self._perform([steps.tidy(layout, path)])
        return self._ready(facts, sent_bytes=sent)

    def _ready(self, facts: Facts, *, sent_bytes: int = 0, changed: bool = True) -> ReadyDevice:
        """Remember the board, enrol it, and return it; remembered first, for it answers with or without identity."""
        self._remember(facts)
        return ReadyDevice(
            spec=self._spec,
            facts=facts,
            keeper=self._layout.words,
            sent_bytes=sent_bytes,
            changed=changed,
            enrolment=self._enrolment.perform(
                self._home, self._spec, self._layout, self._connection, self._restart
            ),
        )

    def _kept_running(self, memory_max: str, isolation: str) -> tuple[steps.Step, ...]:
        return (
            steps.keep_running(self._layout, self._spec.name, memory_max, isolation),
            *steps.keep_runner_unit(self._layout, isolation, memory_max),
        )

    def _restart(self) -> None:
        if holder := self._asked_holder():
            raise BusyError(
                f"{self._spec.name} is held by {holder}, and its agent starts anew to take its identity.",
                next_step="Wait for the end of that run, and add it again.",
            )
        self._perform([steps.start(self._layout, self._spec.name, self._isolation)])

    def _bundle(self) -> Bundle:
        self._dialog.tell(f"packages for Python {self._python.tag} on {self._facts.architecture}")
        wheels = board_wheels(self._facts, self._python, self._home / "wheels")
        # A Jetson's vendor packages are in the system's Python.
        return make_bundle(wheels, python=self._python.path, system_packages=self._facts.is_jetson)

    def _show(self, bundle: Bundle, plan: Iterable[steps.Step]) -> None:
        tell, layout = self._dialog.tell, self._layout
        tell(
            f"agent {bundle.digest}, {bundle.size_bytes / 1e6:.1f} MB in {len(bundle.files())} files; {layout.words}"
        )
        if layout.keeper is not Keeper.SYSTEM and self._facts.systemd and self._facts.sudo == "password":
            tell("sudo asks for a password there, so root's rights are not used")
        if self._memory_max and not self._facts.memory_cgroup:
            tell(f"MemoryMax={self._memory_max} has no effect: this kernel does not account memory by group")
        for number, step in enumerate(plan):
            if number == 1:
                tell(f"  send {bundle.size_bytes / 1e6:.1f} MB to {layout.incoming}, except what is there")
            tell(f"  {step.title}{' (sudo)' if step.sudo else ''}")
        if self._enrolment.words:
            tell(f"  {self._enrolment.words}")

    def _require_room(self, bundle: Bundle) -> None:
        place = "/opt" if self._layout.keeper is Keeper.SYSTEM else self._layout.home
        free, needed = self._facts.free(place), bundle.room_bytes + _DISK_RESERVE_BYTES
        if free is not None and free < needed:
            raise BusyError(
                f"{self._spec.name} has {free / 1e6:.0f} MB free in {place}, the agent needs {needed / 1e6:.0f} MB.",
                next_step="Free some space there; nothing was sent.",
            )

    def _send(self, bundle: Bundle) -> int:
        sent, done = 0, 0
        for name, content, size in bundle.files():
            base = done

            def on_bytes(part: int, _total: int, base: int = base) -> None:
                self._dialog.sent(base + part, bundle.size_bytes)

            sent += self._connection.put(
                content, f"{self._layout.incoming}/{name}", mode=0o644, on_bytes=on_bytes
            )
            done += size
        return sent

    def _perform(self, plan: Iterable[steps.Step]) -> None:
        for step in plan:
            self._dialog.tell(f"{step.title} ...")
            _perform(self._connection, step)

    def _answer(self) -> Facts | None:
        try:
            return asyncio.run(_greet(self._spec, self._home))
        except UnauthenticatedError:
            raise
        except EdgeloopError:
            return None

    def _asked_holder(self) -> str:
        try:
            return asyncio.run(_holder(self._spec, self._home))
        except EdgeloopError:
            return ""  # an agent that does not answer holds nothing up

    def _returned(self, error: EdgeloopError, current: str) -> EdgeloopError:
        """Go back to the agent that ran before, and return what to tell."""
        words = self._connection.run(steps.log_tail(self._layout).command, sudo=self._layout.sudo)
        said = f" Its log ends with: {words.stdout.strip().splitlines()[-1]}" if words.stdout.strip() else ""
        if not current:
            _perform(self._connection, steps.stop(self._layout))
            return StateError(
                f"{error.message}{said}", next_step=error.next_step or "Try again: it goes on from here."
            )
        now = parse_probe(self._connection.run("sh -s", stdin=probe_script(), timeout_s=_PROBE_S).stdout)
        is_another = now.versions_at(self._layout.root)[0] != current
        if is_another or self._before != (self._memory_max, self._isolation):
            # With the options of then: that agent may not know the new ones.
            plan = [
                *([steps.back(self._layout, self._python.path)] if is_another else []),
                *self._kept_running(*self._before),
                steps.start(self._layout, self._spec.name, self._before[1]),
            ]
            for step in plan:
                _perform(self._connection, step)
        asyncio.run(_greet(self._spec, self._home))
        return StateError(f"{error.message}{said}", next_step="The previous agent runs again and answers.")

    def _remember(self, facts: Facts) -> None:
        DeviceBook(self._home, path=self._request.inventory).put(self._spec)
        keep_facts_quietly(self._home, self._spec, facts)
