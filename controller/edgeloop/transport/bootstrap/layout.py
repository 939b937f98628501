"""Where the agent stands on a board and who keeps it running: decided from facts alone."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edgeloop.transport.bootstrap.board_facts import BoardFacts

__all__ = ["HARDENED", "UNIT", "Keeper", "Layout", "choose_layout", "system_unit", "user_unit"]

UNIT = "edgeloop-agent.service"


class Keeper(enum.Enum):
    """Who starts the agent and starts it again."""

    SYSTEM = "system"
    USER = "user"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The directories of one installation."""

    keeper: Keeper
    #: Holds the versions and the links to them.
    root: str
    #: The agent's state: blobs, results, leases.
    state: str
    #: Its Unix socket.
    socket: str
    #: Where files arrive; always the user's own.
    incoming: str
    #: Whether what changes the system needs sudo.
    sudo: bool
    #: The account that the agent runs as.
    user: str
    home: str

    @property
    def words(self) -> str:
        """Who keeps it running, for people."""
        return {
            Keeper.SYSTEM: "a systemd service of the system",
            Keeper.USER: f"a systemd service of the user {self.user}",
            Keeper.BACKGROUND: "a supervised process in the background, until the next boot (there is no systemd)",
        }[self.keeper]


def choose_layout(facts: BoardFacts, *, sudo_allowed: bool = True) -> Layout:
    """Return where the agent goes: the system's service when we may, else the user's, else the background."""
    privileged = facts.is_root or (facts.sudo == "yes" and sudo_allowed)
    incoming = f"{facts.home}/.cache/edgeloop/incoming"
    if facts.systemd and privileged:
        return Layout(
            keeper=Keeper.SYSTEM,
            root="/opt/edgeloop",
            state="/var/lib/edgeloop",
            socket="/run/edgeloop/agent.sock",
            incoming=incoming,
            sudo=not facts.is_root,
            user=facts.user,
            home=facts.home,
        )
    root = f"{facts.home}/.local/share/edgeloop"
    return Layout(
        keeper=Keeper.USER if facts.systemd_user else Keeper.BACKGROUND,
        root=root,
        state=f"{facts.home}/.local/state/edgeloop",
        socket=f"{root}/run/agent.sock",
        incoming=incoming,
        sudo=False,
        user=facts.user,
        home=facts.home,
    )


_SERVICE = """\
[Service]
Type=notify
NotifyAccess=main
{account}ExecStart={root}/agent/current/bin/edgeloop-agent serve --state {state} --socket {socket} {options}
Restart=always
RestartSec=2
WatchdogSec=30
TimeoutStartSec=300
TimeoutStopSec=20
KillMode=mixed
# A runner that is out of memory is a recorded result, not the end of the agent.
OOMPolicy=continue
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
"""

# Devices stay visible: runtimes of a vendor and serial meters need them. So do /sys and /proc, to be read.
HARDENED = """\
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
"""
"""What is taken from every service of ours that the system runs, as its unit says it."""

_DIRECTORIES = """\
StateDirectory=edgeloop
StateDirectoryMode=0700
RuntimeDirectory=edgeloop
RuntimeDirectoryMode=0700
"""

_UNIT = """\
[Unit]
Description=edgeloop agent: benchmarks and serves models on this board
StartLimitIntervalSec=300
StartLimitBurst=5

{service}
[Install]
WantedBy={wanted}
"""


def system_unit(layout: Layout, name: str, memory_max: str = "", isolation: str = "") -> str:
    """Return the unit of the system's service.

    Args:
        layout: where it stands.
        name: the device's name.
        memory_max: most memory it may take, as systemd writes it; a wish, since boards often do not account it.
        isolation: the strongest tier that it takes; empty for the agent's default.
    """
    service = _service(layout, name, isolation, account=f"User={layout.user}\n")
    return _UNIT.format(
        service=service + HARDENED + _DIRECTORIES + _memory(memory_max), wanted="multi-user.target"
    )


def user_unit(layout: Layout, name: str, memory_max: str = "", isolation: str = "") -> str:
    """Return the unit of a user's service; what only root may restrict is left out."""
    service = _service(layout, name, isolation)
    return _UNIT.format(service=service + _memory(memory_max), wanted="default.target")


def _service(layout: Layout, name: str, isolation: str, *, account: str = "") -> str:
    return _SERVICE.format(
        account=account,
        root=layout.root,
        state=layout.state,
        socket=layout.socket,
        options=f"--name {name}{f' --isolation {isolation}' if isolation else ''}",
    )


def _memory(memory_max: str) -> str:
    return f"MemoryMax={memory_max}\n" if memory_max else ""
