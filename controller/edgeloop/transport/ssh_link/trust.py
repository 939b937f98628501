"""Which host keys are known; nothing unknown is accepted on the way, nothing changed ever."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import InvalidInputError, UnauthenticatedError

__all__ = [
    "UnknownHostKeyError",
    "changed_key",
    "check_pin",
    "fingerprint",
    "forget",
    "known_keys",
    "known_name",
    "own_file",
    "remember",
    "revoked",
]

_HEADER = "# Host keys that were confirmed for boards added with edgeloop.\n"


class UnknownHostKeyError(UnauthenticatedError):
    """Nobody has said yet whether a host's key is the right one."""

    def __init__(self, host: str, key: Any) -> None:
        super().__init__(
            f"the host key of {host} is not known; it shows {key.get_name()} {fingerprint(key)}.",
            next_step="Compare it with the board's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there) and "
            f"give --host-key {fingerprint(key)}, or connect once with ssh.",
        )
        #: The key that was shown, a paramiko ``PKey``.
        self.key = key


def fingerprint(key: Any) -> str:
    """Return a key's fingerprint as OpenSSH writes it."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def check_pin(text: str) -> str:
    """Return a fingerprint as OpenSSH writes it.

    Raises:
        InvalidInputError: it is none of SHA-256.
    """
    found = text.strip().rstrip("=")
    if not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", found):
        raise InvalidInputError(
            f"{text!r} is not a fingerprint.", next_step="Write it as ssh-keygen -l shows it: SHA256:..."
        )
    return found


def changed_key(host: str, key: Any, where: str) -> UnauthenticatedError:
    """Return the error of a host whose key is not the one that is known."""
    return UnauthenticatedError(
        f"the host key of {host} is {key.get_name()} {fingerprint(key)}, another one than {where}: "
        "somebody may be in between, or the board was set up anew.",
        next_step="Nothing was sent. If the board was set up anew, remove its old key "
        f"(ssh-keygen -R {host}, edgeloop device remove) and add it again.",
    )


def own_file(home: Path) -> Path:
    """Return our own file of known hosts."""
    return home / "ssh" / "known_hosts"


def known_name(host: str, port: int) -> str:
    """Return a server's name as files of known hosts write it."""
    return host if port == 22 else f"[{host}]:{port}"


def known_keys(files: Iterable[str]) -> list[tuple[str, Any]]:
    """Return host and key of every line that paramiko can use; for one host and kind of key the first line counts.

    paramiko's own reader gives up at a line with a marker such as ``@revoked``.
    """
    import paramiko

    found: dict[tuple[str, str], Any] = {}
    for line in (line for name in files for line in _lines(name)):
        if not line or line.startswith(("#", "@")):
            continue
        try:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
        except (paramiko.SSHException, ValueError):
            continue  # a line that nobody can read makes nothing known
        for host in entry.hostnames if entry else ():
            found.setdefault((host, entry.key.get_name()), entry.key)
    return [(host, key) for (host, _), key in found.items()]


def _lines(name: str) -> list[str]:
    path = Path(name)
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def revoked(files: Iterable[str], key: Any) -> bool:
    """Return whether a file of known hosts marks the key as revoked; paramiko skips such lines."""
    blob = base64.b64encode(key.asbytes()).decode()
    lines = [line for name in files for line in _lines(name)]
    return any(line.startswith("@revoked") and blob in line.split() for line in lines)


def remember(home: Path, name: str, key: Any) -> None:
    """Write a confirmed key into our own file; the user's is left alone."""
    line = f"{name} {key.get_name()} {base64.b64encode(key.asbytes()).decode()}\n"
    _rewrite(own_file(home), lambda lines: [*(entry for entry in lines if entry.split()[:1] != [name]), line])


def forget(home: Path, name: str) -> None:
    """Take a host out of our own file."""
    path = own_file(home)
    if path.is_file():
        _rewrite(path, lambda lines: [entry for entry in lines if entry.split()[:1] != [name]])


def _rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else [_HEADER]
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text("".join(change(old)), encoding="utf-8")
    temporary.replace(path)
