"""One authenticated connection to a board: run a command there, put a file there, open its sockets."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgeloop_foundation.errors import (
    AccessDeniedError,
    CorruptDataError,
    DeadlineError,
    EdgeloopError,
    StateError,
    UnauthenticatedError,
    UnavailableError,
)

from edgeloop.transport.ssh_link import trust
from edgeloop.transport.ssh_link.route import Hop

__all__ = ["Output", "SshConnection"]

_CONNECT_S = 15.0
_BANNER_S = 30.0
_CHANNEL_S = 15.0
_KEEPALIVE_S = 15
_PIECE_BYTES = 256 * 1024
_OUTPUT_BYTES_MAX = 4 << 20
_ADMINISTRATIVELY_PROHIBITED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """How a command on the board ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The last line that it wrote, errors first."""
        lines = [line for text in (self.stdout, self.stderr) for line in text.strip().splitlines()]
        return lines[-1].strip() if lines else f"status {self.status}"


class SshConnection:
    """A chain of SSH connections, each through the one before; methods block and may be called from any thread.

    Every hop refuses keys that are not known. A pin may vouch for the last one, never for a jump host.
    """

    def __init__(self, route: Sequence[Hop], home: Path, *, pin: str = "") -> None:
        """Prepare; nothing is connected yet.

        Args:
            route: the hops, the board last.
            home: the controller's home, which has our own file of known hosts.
            pin: fingerprint that the board's key must have; vouches for an unknown one.
        """
        self.route = tuple(route)
        self._home = home
        self._pin = pin
        self._chain: list[Any] = []
        #: A key that a pin or a person vouched for and that no file knows yet.
        self.vouched_key: Any = None

    @property
    def label(self) -> str:
        """The board for people."""
        return self.route[-1].label

    @property
    def alive(self) -> bool:
        """Whether the connection to the board stands, as far as this side knows."""
        return (
            bool(self._chain) and len(self._chain) == len(self.route) and bool(self._chain[-1].is_connected)
        )

    def open(self) -> None:
        """Connect every hop, or none.

        Raises:
            UnknownHostKeyError: nobody vouches for the board's key.
            UnauthenticatedError: a key has changed, a jump host is not known, or we are not let in.
            UnavailableError: a hop cannot be reached.
        """
        try:
            for number, hop in enumerate(self.route):
                self._open_hop(hop, last=number == len(self.route) - 1)
        except BaseException:
            self.close()
            raise

    def vouch(self, key: Any) -> None:
        """Accept a key of the board from now on; a person has compared it."""
        self.vouched_key = key

    def remember_key(self) -> None:
        """Write a key that was vouched for into our own file of known hosts."""
        if self.vouched_key is not None:
            board = self.route[-1]
            trust.remember(self._home, trust.known_name(board.host, board.port), self.vouched_key)

    def _open_hop(self, hop: Hop, last: bool) -> None:
        try:
            connection = self._connect(hop, last)
        except trust.UnknownHostKeyError as error:
            if not last:
                raise UnauthenticatedError(
                    f"the host key of the jump host {hop.label} is not known.",
                    next_step="Connect to it once with ssh and compare its fingerprint; no option vouches for it.",
                ) from error
            if not self._pin:
                raise
            self._compare_pin(hop, error.key)
            self.vouched_key = error.key
            connection = self._connect(hop, last)
        self._chain.append(connection)
        if last:
            self._compare_pin(hop, connection.transport.get_remote_server_key())

    def _compare_pin(self, hop: Hop, key: Any) -> None:
        if self._pin and trust.fingerprint(key) != self._pin:
            raise trust.changed_key(hop.host, key, f"the given {self._pin}")

    def _connect(self, hop: Hop, last: bool) -> Any:
        import fabric
        import paramiko

        from edgeloop.transport.ssh_link.streamlocal import StreamlocalTransport

        connection = fabric.Connection(
            hop.host,
            user=hop.user,
            port=hop.port,
            # Neither files of Fabric nor its own reading of ~/.ssh/config: the route has all that counts.
            config=fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig()),
            gateway=self._chain[-1] if self._chain else None,
            connect_timeout=_CONNECT_S,
            connect_kwargs={
                "key_filename": list(hop.key_files),
                "allow_agent": not hop.only_named_keys,
                "look_for_keys": not hop.only_named_keys,
                "banner_timeout": _BANNER_S,
                "auth_timeout": _BANNER_S,
                "channel_timeout": _CHANNEL_S,
                "transport_factory": StreamlocalTransport,
            },
        )
        self._set_trust(connection.client, hop, last)
        try:
            connection.open()
        except paramiko.BadHostKeyException as error:
            raise trust.changed_key(hop.host, error.key, "the known one") from error
        except EdgeloopError:
            raise
        except Exception as error:
            transport = connection.client.get_transport()
            reached = transport is not None and transport.is_active()
            connection.client.close()
            raise _refusal(hop, error, reached) from error
        key = connection.transport.get_remote_server_key()
        if trust.revoked((*hop.known_hosts, str(trust.own_file(self._home))), key):
            connection.close()
            raise trust.changed_key(hop.host, key, "a revoked one (it is marked so in known_hosts)")
        connection.transport.set_keepalive(_KEEPALIVE_S)
        return connection

    def _set_trust(self, client: Any, hop: Hop, last: bool) -> None:
        from edgeloop.transport.ssh_link.streamlocal import refuse_unknown

        client.set_missing_host_key_policy(refuse_unknown())
        for name, key in trust.known_keys((*hop.known_hosts, str(trust.own_file(self._home)))):
            client.get_host_keys().add(name, key.get_name(), key)
        if last and self.vouched_key is not None:
            known = trust.known_name(hop.host, hop.port)
            client.get_host_keys().add(known, self.vouched_key.get_name(), self.vouched_key)

    def close(self) -> None:
        """Let go of every hop, the board first; may be called twice."""
        while self._chain:
            with contextlib.suppress(Exception):
                self._chain.pop().close()

    def run(self, command: str, *, stdin: bytes = b"", sudo: bool = False, timeout_s: float = 60.0) -> Output:
        """Run a command of ``sh`` on the board and wait for its end.

        Args:
            command: text for ``sh -c``, whatever the login shell is.
            stdin: what it reads.
            sudo: run it as root, without asking for a password.
            timeout_s: longest time without an end.

        Raises:
            UnavailableError: the connection broke.
            DeadlineError: it did not end in time.
        """
        whole = f"{'sudo -n -- ' if sudo else ''}sh -c {shlex.quote(command)}"
        try:
            channel = self._transport().open_session(timeout=_CHANNEL_S)
            with contextlib.closing(channel):
                channel.exec_command(whole)
                return _talk(channel, stdin, time.monotonic() + timeout_s)
        except TimeoutError as error:
            raise DeadlineError(
                f"{self.label}: a command did not end within {timeout_s:g} s: {command.splitlines()[0][:80]}",
                next_step="See whether the board is overloaded, and try again: it goes on where it stopped.",
            ) from error
        except EdgeloopError:
            raise
        except Exception as error:
            raise self._broken(error) from error

    def check(
        self, command: str, *, what: str, stdin: bytes = b"", sudo: bool = False, timeout_s: float = 60.0
    ) -> str:
        """Run a command that must succeed and return what it wrote.

        Raises:
            StateError: it failed; the sentence has its last words.
            UnavailableError: the connection broke.
            DeadlineError: it did not end in time.
        """
        output = self.run(command, stdin=stdin, sudo=sudo, timeout_s=timeout_s)
        if output.status != 0:
            raise StateError(f"{self.label}: {what} failed: {output.last_words}")
        return output.stdout

    def put(
        self,
        source: Path | bytes,
        remote: str,
        *,
        mode: int = 0o600,
        on_bytes: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Bring a file to the board whole and checked, going on where an earlier attempt stopped.

        The bytes gather in ``REMOTE.part``; the name appears when their SHA-256 is right. A file that is there
        already with the right digest is left alone.

        Args:
            source: a file, or its content.
            remote: path on the board, absolute or below the home directory; its directory is there.
            mode: its permissions.
            on_bytes: told bytes done and in all.

        Returns:
            Bytes that were sent.

        Raises:
            CorruptDataError: what arrived is something else, twice.
            UnavailableError: the connection broke.
        """
        with _opened(source) as content:
            digest, size = _digest(content), content.tell()
            if self.run(f"sha256sum {shlex.quote(remote)}", timeout_s=300).stdout.startswith(digest):
                on_bytes(size, size)
                return 0
            return self._bring(content, size, digest, remote, mode, on_bytes)

    def _bring(
        self,
        content: BinaryIO,
        size: int,
        digest: str,
        remote: str,
        mode: int,
        on_bytes: Callable[[int, int], None],
    ) -> int:
        quoted, part, sent = shlex.quote(remote), f"{remote}.part", 0
        for _ in range(2):
            sent += self._send(content, size, part, on_bytes)
            if self.run(f"sha256sum {shlex.quote(part)}", timeout_s=300).stdout.startswith(digest):
                self.check(
                    f"chmod {mode:o} {quoted}.part && sync {quoted}.part && mv -f {quoted}.part {quoted}",
                    what=f"writing {remote}",
                    timeout_s=300,
                )
                return sent
            # What an earlier attempt left was of another content.
            self.run(f"rm -f {shlex.quote(part)}")
        raise CorruptDataError(
            f"{self.label}: {remote} arrived with another content, twice.",
            next_step="See whether the board's disk is full or broken.",
        )

    def _send(self, content: BinaryIO, size: int, part: str, on_bytes: Callable[[int, int], None]) -> int:
        try:
            with self._chain[-1].client.open_sftp() as sftp:
                sftp.get_channel().settimeout(_BANNER_S)
                start = 0
                with contextlib.suppress(FileNotFoundError):
                    start = sftp.stat(part).st_size
                if start > size:
                    start = 0
                # By position, not by appending: what the session that broke still writes is the same in the same place.
                with sftp.open(part, "r+b" if start else "wb") as file:
                    file.seek(start)
                    content.seek(start)
                    file.set_pipelined(True)
                    done = start
                    while piece := content.read(_PIECE_BYTES):
                        file.write(piece)
                        done += len(piece)
                        on_bytes(done, size)
                return done - start
        except Exception as error:
            raise self._broken(error) from error

    def open_socket(self, path: str) -> Any:
        """Return a channel to a Unix socket on the board.

        Raises:
            AccessDeniedError: its SSH server forbids it.
            UnavailableError: nobody listens there, or the connection broke.
        """
        import paramiko

        try:
            return self._transport().open_unix_socket(path, _CHANNEL_S)
        except paramiko.ChannelException as error:
            raise self._no_socket(path, error.code) from error
        except Exception as error:
            raise self._broken(error) from error

    def _no_socket(self, path: str, code: int) -> EdgeloopError:
        # OpenSSH says "connect failed" for what it forbids, too; the board's kernel knows whether somebody listens.
        listened = self.run(f"grep -qF {shlex.quote(f' {path}')} /proc/net/unix").status == 0
        if code == _ADMINISTRATIVELY_PROHIBITED or listened:
            return AccessDeniedError(
                f"{self.label}: its SSH server does not forward to the Unix socket {path}.",
                next_step="Set AllowStreamLocalForwarding yes in its sshd_config (and no DisableForwarding), "
                "reload it, and log in as the user whom the agent runs as.",
            )
        return UnavailableError(
            f"{self.label}: nobody listens on {path}.",
            next_step="Start its agent, or set it up anew: edgeloop device add.",
        )

    def _transport(self) -> Any:
        if not self.alive:
            raise UnavailableError(f"{self.label}: the SSH connection is closed.", next_step="Try again.")
        return self._chain[-1].transport

    def _broken(self, error: Exception) -> EdgeloopError:
        if isinstance(error, EdgeloopError):
            return error
        return UnavailableError(
            f"{self.label}: the SSH connection broke: {error or type(error).__name__}.",
            next_step="Try again: what was sent is kept.",
        )


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Iterator[BinaryIO]:
    """Yield a file, or bytes as one: what is sent may be larger than our memory."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    with source.open("rb") as file:
        yield file


def _digest(content: BinaryIO) -> str:
    hasher = hashlib.sha256()
    while piece := content.read(_PIECE_BYTES):
        hasher.update(piece)
    return hasher.hexdigest()


def _talk(channel: Any, stdin: bytes, deadline: float) -> Output:
    errors: list[bytes] = []
    channel.settimeout(max(1.0, deadline - time.monotonic()))

    def read_errors() -> None:
        with contextlib.suppress(OSError):
            while piece := channel.recv_stderr(1 << 16):
                errors.append(piece)

    reader = threading.Thread(target=read_errors, daemon=True)
    reader.start()
    if stdin:
        channel.sendall(stdin)
    channel.shutdown_write()
    written = bytearray()
    while piece := channel.recv(1 << 16):
        written += piece[: _OUTPUT_BYTES_MAX - len(written)]
        channel.settimeout(max(0.1, deadline - time.monotonic()))
        if time.monotonic() > deadline:
            raise TimeoutError
    if not channel.status_event.wait(max(0.1, deadline - time.monotonic())):
        raise TimeoutError
    reader.join(max(0.1, deadline - time.monotonic()))
    return Output(
        status=channel.recv_exit_status(),
        stdout=bytes(written).decode(errors="replace"),
        stderr=b"".join(errors).decode(errors="replace"),
    )


def _refusal(hop: Hop, error: Exception, reached: bool) -> EdgeloopError:
    import paramiko

    if isinstance(error, paramiko.PasswordRequiredException):
        return UnauthenticatedError(
            f"{hop.label}: the private key is locked by a passphrase.",
            next_step="Unlock it with ssh-add, then try again.",
        )
    # Its server answered and has a known key: what is left is that none of our keys was taken. paramiko may name the
    # last file that it could not read instead.
    if isinstance(error, paramiko.AuthenticationException) or (
        reached and isinstance(error, paramiko.SSHException)
    ):
        return UnauthenticatedError(
            f"{hop.label} does not let us in: no key of ours is accepted.",
            next_step=f"Bring one there with ssh-copy-id {hop.label}, or name it with --key.",
        )
    if isinstance(error, socket.gaierror):
        return UnavailableError(
            f"{hop.host} is not a known host name.", next_step="See ~/.ssh/config and the network."
        )
    if isinstance(error, TimeoutError):
        return DeadlineError(
            f"{hop.label} does not answer on port {hop.port}.", next_step="Is it on and in the network?"
        )
    plain = str(error).removeprefix("[Errno None] ") or type(error).__name__
    return UnavailableError(
        f"{hop.label} cannot be reached: {plain}.", next_step="See whether it is on and its SSH server runs."
    )
