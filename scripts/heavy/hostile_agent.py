"""An agent whose runners were taken over: ``hostile_agent.py STATE SOCKET TIER``; else composed as the daemon is.

A runner that is asked to open an artifact whose label names an attack below carries it out, with all that it
may do; with any other label it is the runner that it always is.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgeloop_agent import inventory
from edgeloop_agent.board import RealBoard
from edgeloop_agent.daemon import DISK_THREADS, execute_job
from edgeloop_agent.isolation_policy import IsolationPolicy
from edgeloop_agent.listen import UnixListener
from edgeloop_agent.server import Agent, StateLock
from edgeloop_foundation.ports.clock import SystemClock
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import ChildProcess, SystemProcesses

RUNNER = "edgeloop_agent.runner"

ATTACKS = {
    "reads a secret": "print(open(f'{outside}/secret').read())",
    "writes outside": "open(f'{outside}/escaped', 'w').write('x')",
    "changes a secret's mode": "os.chmod(f'{outside}/secret', 0o666)",
    "removes a secret": "os.unlink(f'{outside}/secret')",
    "moves a secret": "os.rename(f'{outside}/secret', 'taken')",
    "links to a secret": "os.link(f'{outside}/secret', 'taken'); print(open('taken').read())",
    "reads through a link": "os.symlink(f'{outside}/secret', 'l'); print(open('l').read())",
    "leaves a process behind": "os.fork() or (os.setsid(), os.close(0), os.close(1), os.close(2), time.sleep(600))",
    "starts a program": "subprocess.Popen(['/bin/sleep', '600'], start_new_session=True)",
    "connects": "socket.create_connection(('127.0.0.1', port), 1).send(b'x')",
    "sends a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
    "ends the agent": "os.kill(os.getppid(), 15)",
    "traces the agent": "print(ctypes.CDLL(None, use_errno=True).ptrace(0x4206, os.getppid(), 0, 0) or secret())",
    "ignores SIGTERM": "signal.signal(15, signal.SIG_IGN); [None for _ in iter(int, 1)]",
    "blocks every signal": "signal.pthread_sigmask(0, range(1, 65)); time.sleep(600)",
    "floods its output": "[sink.write(b'\\xff' * 65536) for _ in iter(int, 1)]",
    "claims a frame of 4 GiB": "sink.write(b'\\xff' * 8); sink.flush(); time.sleep(600)",
    "floods its log": "[os.write(2, b'x' * 65536) for _ in iter(int, 1)]",
    "writes a large file": "open('big', 'wb').truncate(1 << 40)",
    "makes a great many files": "[open(f'f{n}', 'w').close() for n in range(20000)]",
    "eats memory": "hold = [bytearray(64 << 20) for _ in iter(int, 1)]",
    "starts a great many threads": "[threading.Thread(target=time.sleep, args=(600,)).start() for _ in range(100000)]",
}
"""What it runs, by name; ``sink`` are its frames, ``outside`` and ``port`` come from the manifest's label."""

_TAKE_OVER = """
import ctypes, json, os, signal, socket, subprocess, sys, threading, time, traceback
from pathlib import Path
from edgeloop_agent.runner import worker
attacks, honest = {attacks!r}, worker.Worker._open
def taken_over(self, header):
    label = json.loads(Path(header["artifact_directory"], "manifest.json").read_text())["label"]
    name, _, rest = label.partition("|")
    if name not in attacks:
        return honest(self, header)
    outside, _, port = rest.partition("|")
    names = dict(globals(), outside=outside, port=int(port), sink=os.fdopen(os.dup(frames), "wb"))
    names["secret"] = lambda: open(outside + "/secret").read()
    try:
        exec("sys.stdout = sys.stderr; " + attacks[name], names)
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(9)
worker.Worker._open = taken_over
frames = os.dup(1)
"""

_PROGRAM = (
    _TAKE_OVER
    + """
from edgeloop_agent.runner.__main__ import main
main()
"""
)


def hostile_copy(directory: Path) -> Path:
    """Copy the installed agent, whose runner can be taken over, below a directory to find it in; return that one."""
    import edgeloop_agent

    target = directory / "edgeloop_agent"
    source = Path(edgeloop_agent.__file__).parent
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    with (target / "runner" / "worker.py").open("a") as worker:
        worker.write(_TAKE_OVER.format(attacks=ATTACKS))
    return directory


class TakenOver:
    """Starts the runner with its own arguments, and with the attacks in it."""

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None = None
    ) -> ChildProcess:
        if RUNNER in argv and "--describe" not in argv:
            # Behind a helper program's own words, where there is one.
            at = argv.index(RUNNER)
            argv = (*argv[: at - 1], "-c", _PROGRAM.format(attacks=ATTACKS), *argv[at + 1 :])
        return await SystemProcesses().spawn(argv, env, cwd)


async def serve(state: Path, socket: Path, tier: str) -> None:
    """Serve until SIGTERM."""
    loop, asked_to_stop = asyncio.get_running_loop(), asyncio.Event()
    loop.set_default_executor(ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="disk"))
    loop.add_signal_handler(signal.SIGTERM, asked_to_stop.set)
    lock = StateLock(state)
    policy = IsolationPolicy(tier=tier)
    agent = Agent(
        fs=OsFileSystem(),
        clock=SystemClock(),
        state_directory=state,
        board=RealBoard(state, "board", TakenOver(), Path("/"), isolation=policy),
        execute=execute_job,
        boot_id=inventory.boot_id(Path("/")),
    )
    await agent.start(UnixListener(path=socket))
    print("ready", flush=True)
    await asked_to_stop.wait()
    await agent.stop()
    lock.release()


if __name__ == "__main__":
    _state, _socket, _tier = sys.argv[1:]
    asyncio.run(serve(Path(_state), Path(_socket), _tier))
