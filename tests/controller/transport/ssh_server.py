"""A real SSH server in this process: keys, commands, SFTP, and forwarding to ports and Unix sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_OPEN

_STREAMLOCAL = "direct-streamlocal@openssh.com"


class _Files(paramiko.SFTPServerInterface):
    """The directory of the server's user as SFTP; relative paths are below it."""

    def __init__(self, server: Any, home: Path) -> None:
        super().__init__(server)
        self._home = home

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat((self._home / path.lstrip("/")).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            descriptor = os.open(self._home / path.lstrip("/"), flags, 0o600)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or 0)
        handle = paramiko.SFTPHandle(flags)
        handle.writefile = os.fdopen(descriptor, "ab" if flags & os.O_APPEND else "wb", buffering=0)
        return handle


class _Transport(paramiko.Transport):
    """Counts who is let in, and reads the path of a channel to a Unix socket, which paramiko leaves unread."""

    def __init__(self, owner: SshServer, sock: socket.socket) -> None:
        super().__init__(sock)
        self._owner = owner
        self.paths: dict[int, str] = {}
        self._handler_table[MSG_CHANNEL_OPEN] = self._peek

    def _auth_trigger(self) -> None:
        # In the thread that handles what the client sends next, so that whoever has an answer was counted.
        self._owner.logins += 1
        super()._auth_trigger()

    def _peek(self, message: Any) -> None:
        kind = message.get_text()
        message.get_int(), message.get_int(), message.get_int()
        if kind == _STREAMLOCAL:
            # The next channel that is opened is this one: this thread opens them all.
            self.paths[self._channel_counter] = message.get_text()
        message.rewind()
        self._parse_channel_open(message)


class _Session(paramiko.ServerInterface):
    def __init__(self, owner: SshServer) -> None:
        self._owner = owner
        self.targets: deque[tuple[str, int]] = deque()

    def check_auth_publickey(self, username: str, key: Any) -> int:
        known = key.asbytes() == self._owner.client_key.asbytes()
        return paramiko.AUTH_SUCCESSFUL if known else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session" or (kind == _STREAMLOCAL and self._owner.forwarding):
            return paramiko.OPEN_SUCCEEDED
        return self._owner.refusal

    def check_channel_direct_tcpip_request(self, chanid: int, origin: Any, destination: Any) -> int:
        self.targets.append(destination)
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        threading.Thread(target=self._owner.execute, args=(channel, command), daemon=True).start()
        return True


class SshServer:
    """Listens on loopback; its user's home is a directory of the test."""

    def __init__(self, home: Path, client_key: Any) -> None:
        self.home = home
        self.client_key = client_key
        self.key = paramiko.ECDSAKey.generate()
        #: Whether Unix sockets may be forwarded to.
        self.forwarding = True
        #: How it says no to them; OpenSSH says that connecting failed.
        self.refusal = paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        #: Connections that were let in, and commands that were run.
        self.logins = 0
        self.commands: list[str] = []
        self._transports: list[Any] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def known_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {self.key.get_name()} {self.key.get_base64()}\n"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        transport = _Transport(self, client)
        transport.add_server_key(self.key)
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files, self.home)
        self._transports.append(transport)
        session = _Session(self)
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=session)
            while transport.is_active():
                channel = transport.accept(0.2)
                if channel is None:
                    continue
                if path := transport.paths.pop(channel.get_id(), ""):
                    self._forward(channel, socket.AF_UNIX, path)
                elif session.targets:
                    self._forward(channel, socket.AF_INET, session.targets.popleft())

    def _forward(self, channel: Any, family: int, target: Any) -> None:
        there = socket.socket(family)
        try:
            there.connect(target)
        except OSError:
            there.close()
            channel.close()
            return
        for source, sink in ((channel, there), (there, channel)):
            threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()

    def execute(self, channel: Any, command: bytes) -> None:
        self.commands.append(command.decode())
        done = subprocess.Popen(
            ["sh", "-c", command.decode()], cwd=self.home, env={**os.environ, "HOME": str(self.home)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        data = bytearray()
        while piece := channel.recv(1 << 16):
            data += piece
        out, errors = done.communicate(bytes(data))
        with contextlib.suppress(OSError):
            channel.sendall(out)
            channel.sendall_stderr(errors)
            channel.send_exit_status(done.returncode)
        channel.close()

    def drop(self) -> None:
        """Break every connection, as a network does."""
        for transport in self._transports:
            transport.sock.close()
            transport.close()
        self._transports.clear()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()


def _pass_on(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(Exception):
            end.close()
