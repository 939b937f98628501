"""The units of the tier "systemd": a socket for the agent alone, and a hardened service per runner behind it."""

from __future__ import annotations

from edgeloop.transport.bootstrap.layout import HARDENED, Layout

__all__ = ["DIRECTORY", "SERVICE", "SOCKET", "SOCKET_PATH", "service_unit", "socket_unit"]

SOCKET = "edgeloop-runner.socket"
SERVICE = "edgeloop-runner@.service"
DIRECTORY = "/run/edgeloop-runner"
"""Holds the socket; an empty file system is put over it, which is the root of a runner."""

SOCKET_PATH = f"{DIRECTORY}/socket"
"""Where the agent looks for it."""

_SOCKET = """\
[Unit]
Description=edgeloop: starts a confined process per model that the agent opens

[Socket]
ListenStream={path}
Accept=yes
SocketUser={user}
SocketMode=0600
DirectoryMode=0755
MaxConnections=16
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""

_SERVICE = """\
[Unit]
Description=edgeloop runner: one model, confined
CollectMode=inactive-or-failed

[Service]
ExecStart={root}/agent/current/bin/python -I -m edgeloop_agent.runner.keeper
StandardInput=socket
StandardOutput=socket
StandardError=journal
Environment=TMPDIR=/tmp
# An account that exists for this one run.
DynamicUser=yes
# Device files of graphics and neural processors belong to these groups; a group that the board has not is left out.
SupplementaryGroups=video render
# The whole tree is absent but for what programs are made of; no file of the agent's but artifacts, no /etc/passwd.
RootDirectory={directory}
TemporaryFileSystem=/:ro
MountAPIVFS=yes
BindReadOnlyPaths=/usr -/lib -/lib64 -/lib32 -/bin -/sbin -/opt /sys
BindReadOnlyPaths=-/etc/ld.so.cache -/etc/ld.so.conf -/etc/ld.so.conf.d -/etc/alternatives
BindReadOnlyPaths=-/etc/localtime -/etc/nv_tegra_release
BindReadOnlyPaths=-{state}/work -{state}/deployments
# Not shared with the machine, and bounded.
TemporaryFileSystem=/dev/shm:mode=1777,size=64M,nr_inodes=1k
TemporaryFileSystem=/run:mode=755,size=1M
InaccessiblePaths=-+/dev/mqueue -+/dev/hugepages -+/dev/pts
{hardened}PrivateMounts=yes
PrivateNetwork=yes
PrivateUsers=yes
PrivateIPC=yes
ProtectProc=invisible
# Not PrivateDevices: an accelerator has to be reached where there is one.
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
DeviceAllow=char-nvhost* rw
DeviceAllow=/dev/nvmap rw
DeviceAllow=char-drm rw
DeviceAllow=char-accel rw
DeviceAllow=char-hailo* rw
DeviceAllow=char-apex rw
NoNewPrivileges=yes
RestrictSUIDSGID=yes
# Drivers of some accelerators make sockets of this family; there is nothing to connect them to.
RestrictAddressFamilies=AF_UNIX
LockPersonality=yes
RemoveIPC=yes
IPAddressDeny=any
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @keyring @setuid @chown
# What a runner confines itself with; names that an older systemd does not know are left out.
SystemCallFilter=capset prctl seccomp prlimit64 setrlimit sched_setaffinity
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
UMask=0077
TasksMax=512
LimitCORE=0
# The runner goes before the agent when memory is short; its keeper stays to tell of it.
OOMPolicy=continue
OOMScoreAdjust=800
{memory}KillMode=control-group
KillSignal=SIGKILL
TimeoutStopSec=2
"""


def socket_unit(layout: Layout) -> str:
    """Return the socket, which only the agent's account may connect to."""
    return _SOCKET.format(path=SOCKET_PATH, user=layout.user)


def service_unit(layout: Layout, memory_max: str = "") -> str:
    """Return the service that one connection starts.

    Args:
        layout: where the agent stands.
        memory_max: most memory of one runner, as systemd writes it: what bounds the agent does not bound it here.
    """
    memory = f"MemoryMax={memory_max}\n" if memory_max else ""
    return _SERVICE.format(
        root=layout.root, state=layout.state, directory=DIRECTORY, hardened=HARDENED, memory=memory
    )
