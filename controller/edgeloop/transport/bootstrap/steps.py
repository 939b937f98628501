"""The steps of setting up, switching and removing: facts in, commands out, nothing done here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib.resources import files

from edgeloop.transport.bootstrap import runner_unit
from edgeloop.transport.bootstrap.layout import UNIT, Keeper, Layout, system_unit, user_unit

__all__ = [
    "Step",
    "back",
    "build",
    "declared_isolation",
    "declared_memory",
    "keep_runner_unit",
    "keep_running",
    "log_tail",
    "prepare",
    "remove",
    "start",
    "stop",
    "switch",
    "tidy",
]

_BUILD_S = 1800.0
_START_S = 330.0
_SYSTEM = "/etc/systemd/system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command on the board; running it again does no harm."""

    #: What it does, for people.
    title: str
    #: Text for sh.
    command: str
    stdin: bytes = b""
    sudo: bool = False
    timeout_s: float = 60.0


def _script(name: str) -> bytes:
    return files("edgeloop.transport.bootstrap.on_board").joinpath(name).read_bytes()


def _installer(layout: Layout, python: str, title: str, *words: str, timeout_s: float = 120.0) -> Step:
    command = shlex.join([python, "-I", "-", *words])
    return Step(
        title=title, command=command, stdin=_script("install.py"), sudo=layout.sudo, timeout_s=timeout_s
    )


def prepare(layout: Layout) -> Step:
    """Return the step that makes the directory in which files arrive."""
    return Step(
        title=f"make {layout.incoming}", command=f"umask 077; mkdir -p {shlex.quote(layout.incoming)}"
    )


def build(layout: Layout, python: str, digest: str) -> Step:
    """Return the step that builds a version beside the others and tries it."""
    where = f"{layout.root}/agent/{digest}"
    return _installer(
        layout,
        python,
        f"build {where}: a virtual environment of {python}, the packages, a trial",
        *("build", layout.root, layout.incoming, digest),
        timeout_s=_BUILD_S,
    )


def switch(layout: Layout, python: str, digest: str) -> Step:
    """Return the step that makes a version the current one."""
    title = f"point {layout.root}/agent/current to it; the agent before stays as previous"
    return _installer(layout, python, title, "activate", layout.root, digest)


def back(layout: Layout, python: str) -> Step:
    """Return the step that makes the previous version the current one again."""
    return _installer(layout, python, "go back to the previous agent", "back", layout.root)


def tidy(layout: Layout, python: str) -> Step:
    """Return the step that removes what is not needed any more."""
    title = "remove what was sent, and agents older than the previous one"
    return _installer(layout, python, title, "tidy", layout.root, layout.incoming)


def _place(layout: Layout) -> str:
    """Return the file that says how the agent is started."""
    if layout.keeper is Keeper.BACKGROUND:
        return f"{layout.root}/run/supervise"
    return (
        f"{layout.home}/.config/systemd/user/{UNIT}" if layout.keeper is Keeper.USER else f"{_SYSTEM}/{UNIT}"
    )


def keep_running(layout: Layout, name: str, memory_max: str = "", isolation: str = "") -> Step:
    """Return the step that writes the unit, or the supervisor; it says "changed" when it was another before."""
    path = _place(layout)
    if layout.keeper is Keeper.BACKGROUND:
        # The program that is supervised comes as its arguments; what is to be kept is noted where it is found again.
        note = f"# serve --isolation {isolation}\n" if isolation else ""
        content = _script("supervise.sh") + note.encode()
    elif layout.keeper is Keeper.USER:
        content = user_unit(layout, name, memory_max, isolation).encode()
    else:
        content = system_unit(layout, name, memory_max, isolation).encode()
    command = _written(path)
    if layout.keeper is Keeper.BACKGROUND:
        command = f"mkdir -p -m 700 {shlex.quote(layout.root + '/run')}; {command}"
    return Step(title=f"write {path}", command=command, stdin=content, sudo=layout.sudo)


def _written(path: str, through: str = "cat") -> str:
    file = shlex.quote(path)
    return (
        f"umask 022; mkdir -p -m 755 {shlex.quote(path.rpartition('/')[0])} && {through} > {file}.new && "
        f"if cmp -s {file}.new {file}; then rm {file}.new; else mv {file}.new {file} && echo changed; fi"
    )


def keep_runner_unit(layout: Layout, isolation: str, memory_max: str = "") -> tuple[Step, ...]:
    """Return the steps that write the units of the tier "systemd", or remove those of an agent that takes another one.

    Only the system's service can have them.
    """
    if layout.keeper is not Keeper.SYSTEM:
        return ()
    socket, service = (f"{_SYSTEM}/{name}" for name in (runner_unit.SOCKET, runner_unit.SERVICE))
    if isolation != "systemd":
        command = f"[ ! -e {socket} ] || {{ {_without_runner_unit()}; }}"
        return (Step(title="leave out the runner's unit", command=command, sudo=layout.sudo),)
    # A group that the board has not would keep the unit from starting.
    groups = "for g in video render; do getent group $g >/dev/null && printf ' %s' $g; done"
    through = f'sed "s/^SupplementaryGroups=.*/SupplementaryGroups=$({groups})/"'
    texts = (
        (socket, "cat", runner_unit.socket_unit(layout)),
        (service, through, runner_unit.service_unit(layout, memory_max)),
    )
    return tuple(
        Step(title=f"write {path}", command=_written(path, how), stdin=text.encode(), sudo=layout.sudo)
        for path, how, text in texts
    )


def _without_runner_unit() -> str:
    return (
        f"systemctl disable -q --now {runner_unit.SOCKET} 2>/dev/null; systemctl stop 'edgeloop-runner@*' 2>/dev/null; "
        f"rm -f {_SYSTEM}/{runner_unit.SOCKET} {_SYSTEM}/{runner_unit.SERVICE}; "
        f"rm -rf {runner_unit.DIRECTORY}"
    )


def declared_memory(layout: Layout) -> Step:
    """Return the step that prints the memory limit in the unit that is there, nothing without one."""
    return _declared(layout, "memory limit", "s/^MemoryMax=//p")


def declared_isolation(layout: Layout) -> Step:
    """Return the step that prints the tier that the agent is started with, nothing where none was asked for."""
    return _declared(layout, "tier of isolation", "s/^.* serve .*--isolation \\([a-z]*\\).*/\\1/p")


def _declared(layout: Layout, what: str, expression: str) -> Step:
    path = shlex.quote(_place(layout))
    command = f"[ ! -r {path} ] || sed -n '{expression}' {path}"
    return Step(title=f"read the {what} of the service", command=command, sudo=layout.sudo)


def _user(command: str) -> str:
    return f"export XDG_RUNTIME_DIR=${{XDG_RUNTIME_DIR:-/run/user/$(id -u)}}; {command}"


def start(layout: Layout, name: str, isolation: str = "") -> Step:
    """Return the step that starts the current version, anew if need be, and waits until it is ready."""
    if layout.keeper is Keeper.SYSTEM:
        command = (
            f"systemctl daemon-reload && systemctl reset-failed {UNIT} 2>/dev/null; "
            f"[ ! -e {_SYSTEM}/{runner_unit.SOCKET} ] || {{ systemctl enable -q {runner_unit.SOCKET} && "
            f"systemctl restart {runner_unit.SOCKET}; }} && "
            f"systemctl enable -q {UNIT} && systemctl restart {UNIT}"
        )
    elif layout.keeper is Keeper.USER:
        mark = shlex.quote(f"{layout.root}/lingers")
        lingers = "[ -e /var/lib/systemd/linger/$(id -un) ]"
        command = _user(
            f"mkdir -p -m 700 {shlex.quote(layout.root + '/run')} && "
            f"{{ {lingers} || {{ loginctl enable-linger && touch {mark}; }}; }} && systemctl --user daemon-reload && "
            f"systemctl --user enable -q {UNIT} && systemctl --user restart {UNIT}"
        )
    else:
        root, socket = shlex.quote(layout.root), shlex.quote(layout.socket)
        own = ["--isolation", isolation] if isolation else []
        words = shlex.join(
            ["serve", "--state", layout.state, "--socket", layout.socket, "--name", name, *own]
        )
        command = (
            f"{_stop_background(layout)}; rm -f {socket}; "
            f"setsid nohup sh {root}/run/supervise {root} {words} >/dev/null 2>&1 </dev/null & "
            f"n=0; while [ ! -S {socket} ]; do n=$((n+1)); [ $n -lt 120 ] || exit 1; sleep 0.5; done"
        )
    return Step(
        title="start the agent and wait until it is ready",
        command=command,
        sudo=layout.sudo,
        timeout_s=_START_S,
    )


def _stop_background(layout: Layout) -> str:
    pid = shlex.quote(f"{layout.root}/run/supervisor.pid")
    # Where nobody collects the dead, as in many containers, an ended process stays listed as a zombie.
    alive = "grep -qs '^State:.[^ZX]' /proc/$p/status"
    return (
        f"if p=$(cat {pid} 2>/dev/null) && grep -qs supervise /proc/$p/cmdline; then kill $p; n=0; "
        f"while {alive} && [ $n -lt 60 ]; do n=$((n+1)); sleep 0.25; done; "
        f"if {alive}; then kill -9 -$p; fi; fi; rm -f {pid}"
    )


def stop(layout: Layout) -> Step:
    """Return the step that stops the agent and keeps it from starting again."""
    if layout.keeper is Keeper.SYSTEM:
        command = (
            f"systemctl disable -q --now {UNIT} 2>/dev/null; systemctl reset-failed {UNIT} 2>/dev/null; true"
        )
    elif layout.keeper is Keeper.USER:
        command = _user(f"systemctl --user disable -q --now {UNIT} 2>/dev/null; true")
    else:
        command = _stop_background(layout)
    return Step(title="stop the agent", command=command, sudo=layout.sudo)


def remove(layout: Layout) -> tuple[Step, ...]:
    """Return the steps after which nothing is left."""
    mine = [f"{layout.home}/.cache/edgeloop"]
    empty = [f"{layout.home}/.cache"]
    if layout.keeper is not Keeper.SYSTEM:
        mine += [layout.root, layout.state]
        empty += [f"{layout.home}/.local/share", f"{layout.home}/.local/state", f"{layout.home}/.local"]
    parts = [f"rm -rf {shlex.join(mine)}", f"rmdir {shlex.join(empty)} 2>/dev/null; true"]
    steps = [stop(layout)]
    if layout.keeper is Keeper.SYSTEM:
        command = (
            f"{_without_runner_unit()}; rm -f {_SYSTEM}/{UNIT}; systemctl daemon-reload; "
            f"rm -rf {shlex.join([layout.root, layout.state, '/run/edgeloop'])}"
        )
        steps.append(
            Step(
                title=f"remove {layout.root} and {layout.state}",
                command=command,
                sudo=layout.sudo,
                timeout_s=120,
            )
        )
    elif layout.keeper is Keeper.USER:
        unit = shlex.quote(f"{layout.home}/.config/systemd/user/{UNIT}")
        mark = shlex.quote(f"{layout.root}/lingers")
        parts.insert(
            0,
            _user(
                f"rm -f {unit}; systemctl --user daemon-reload; [ ! -e {mark} ] || loginctl disable-linger"
            ),
        )
    title = f"remove {', '.join(mine)}"
    return (*steps, Step(title=title, command="; ".join(parts), timeout_s=120))


def log_tail(layout: Layout) -> Step:
    """Return the step that shows the agent's last words."""
    if layout.keeper is Keeper.SYSTEM:
        command = f"journalctl -q -o cat -n 5 -u {UNIT}"
    elif layout.keeper is Keeper.USER:
        command = _user(f"journalctl --user -q -o cat -n 5 -u {UNIT}")
    else:
        command = (
            f"tail -q -n 5 {shlex.join([f'{layout.root}/run/agent.log.1', f'{layout.root}/run/agent.log'])}"
        )
    return Step(title="read its log", command=command, sudo=layout.sudo)
