"""Whom to reach and through whom: an address, the user's SSH configuration and the options, resolved to hops.

paramiko knows most of ``ssh_config``. What it does not know, and what would change whom we reach or how we prove who
we are, is refused with the name of the setting; what is merely stricter here (host keys) is not asked for.
"""

from __future__ import annotations

import getpass
import glob
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

__all__ = ["Hop", "parse_address", "read_config", "resolve_route"]

_DEFAULT_PORT = 22
_JUMPS_MAX = 8
_INCLUDES_MAX = 16

_REFUSED = {
    "proxycommand": "Name the machine in between with ProxyJump or --jump.",
    "hostkeyalias": "Give the host key itself with --host-key.",
    "pkcs11provider": "Load the key into ssh-agent and leave the setting out.",
    "securitykeyprovider": "Load the key into ssh-agent and leave the setting out.",
    "certificatefile": "Name the certificate like its key with -cert.pub at the end, beside it.",
    "identityagent": "Set SSH_AUTH_SOCK to that agent instead.",
    "bindinterface": "Leave the setting out for this host.",
    "bindaddress": "Leave the setting out for this host.",
}
"""Settings that paramiko cannot honour and that matter, with what to do instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One SSH server on the way."""

    #: Name or address to connect to.
    host: str
    port: int
    user: str
    #: Private keys to offer, besides those of the SSH agent.
    key_files: tuple[str, ...] = ()
    #: Offer the named keys only, not every key of the agent and of ``~/.ssh``.
    only_named_keys: bool = False
    #: Files of known hosts, the user's and the system's.
    known_hosts: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The hop for people."""
        port = "" if self.port == _DEFAULT_PORT else f":{self.port}"
        return f"{self.user}@{self.host}{port}"


def parse_address(text: str) -> tuple[str, str, int | None]:
    """Read ``[USER@]HOST[:PORT]`` and return user (empty when not given), host and port.

    Raises:
        InvalidInputError: it is none.
    """
    match = re.fullmatch(
        r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<six>[0-9A-Fa-f:%.\w]+)\]|(?P<host>[^@:\s\[\]/-][^@:\s\[\]/]*))(?::(?P<port>\d+))?",
        text,
    )
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise InvalidInputError(
            f"{text!r} is not an SSH address.",
            next_step="Write USER@HOST, USER@HOST:PORT or USER@[IPV6]:PORT.",
        )
    return match["user"] or "", match["six"] or match["host"], port


def read_config(path: Path, depth: int = 0) -> str:
    """Return the text of an SSH configuration with the files that it includes; empty when there is none.

    Raises:
        UnsupportedError: a file is included for some hosts only, which cannot be written as one text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"the SSH configuration {path} cannot be read: {error}.") from error
    if depth > _INCLUDES_MAX:
        raise InvalidInputError(f"the SSH configuration {path} includes itself.")
    out, in_section = [], False
    for line in lines:
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        in_section |= word.lower() in ("host", "match")
        if word.lower() != "include":
            out.append(line)
            continue
        if in_section:
            raise UnsupportedError(
                f"{path}: Include after a Host or Match line cannot be honoured.",
                next_step="Move the Include to the top of the file.",
            )
        for pattern in rest.split():
            found = Path(pattern.strip('"')).expanduser()
            whole = found if found.is_absolute() else path.parent / found
            names = sorted(glob.glob(str(whole)))  # noqa: PTH207 - the pattern is absolute
            out += [read_config(Path(name), depth + 1) for name in names]
        # What an included file says for one host must not reach the lines that follow.
        out.append("Host *")
    return "\n".join(out) + "\n"


def resolve_route(
    address: str, *, jump: str = "", key: str = "", config_file: Path | None = None
) -> tuple[Hop, ...]:
    """Return the hops to a board, the nearest first and the board last.

    Args:
        address: ``[USER@]HOST[:PORT]`` or a name from the SSH configuration.
        jump: comma-separated hosts in between; they replace a ``ProxyJump`` of the configuration.
        key: private key for the board.
        config_file: the SSH configuration; ``~/.ssh/config`` by default.

    Raises:
        InvalidInputError: an address cannot be read.
        UnsupportedError: a setting that paramiko cannot honour applies.
    """
    import paramiko

    config = paramiko.SSHConfig()
    try:
        config.parse(io.StringIO(read_config(config_file or Path("~/.ssh/config").expanduser())))
    except paramiko.ConfigParseError as error:
        raise InvalidInputError(f"the SSH configuration cannot be read: {error}.") from error
    return _hops(config, address, jump, key, 0)


def _hops(config: Any, address: str, jump: str, key: str, depth: int) -> tuple[Hop, ...]:
    if depth > _JUMPS_MAX:
        raise InvalidInputError(
            f"the way to {address} has more than {_JUMPS_MAX} jump hosts, or goes in a circle."
        )
    user, host, port = parse_address(address)
    settings: Mapping[str, Any] = config.lookup(host)
    _refuse(settings, host)
    way = jump or settings.get("proxyjump", "")
    before: tuple[Hop, ...] = ()
    if way and way.lower() != "none":
        # Each jump host is reached through those before it; only the first may have a way of its own.
        for place, name in enumerate(word.strip() for word in way.split(",")):
            found = _hops(config, name.removeprefix("ssh://"), "none" if place else "", "", depth + 1)
            before += found
    return (*before, _hop(settings, user, port, key))


def _hop(settings: Mapping[str, Any], user: str, port: int | None, key: str) -> Hop:
    try:
        configured = int(settings.get("port", _DEFAULT_PORT))
    except ValueError as error:
        raise InvalidInputError(f"the SSH configuration has the port {settings['port']!r}.") from error
    keys = (key,) if key else tuple(settings.get("identityfile", ()))
    missing = [name for name in keys if not Path(name).expanduser().is_file()]
    if key and missing:
        raise InvalidInputError(f"the key {key} does not exist.", next_step="Give --key a private key file.")
    known = str(settings.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")).split()
    known += str(settings.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts")).split()
    return Hop(
        host=settings["hostname"],
        port=port or configured,
        user=user or settings.get("user", "") or getpass.getuser(),
        key_files=tuple(str(Path(name).expanduser()) for name in keys if name not in missing),
        only_named_keys=bool(key) or settings.get("identitiesonly", "no").lower() == "yes",
        known_hosts=tuple(str(Path(name).expanduser()) for name in known),
    )


def _refuse(settings: Mapping[str, Any], host: str) -> None:
    for name, step in _REFUSED.items():
        value = settings.get(name)
        if value and str(value).lower() not in ("none", "ssh_auth_sock"):
            raise UnsupportedError(
                f"the SSH configuration sets {name} for {host}, which cannot be honoured here.",
                next_step=step,
            )
