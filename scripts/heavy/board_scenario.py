"""What a new user does with a board over SSH, as checks that any board can be put through."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Board(Protocol):
    """A machine with an SSH server and nothing of ours."""

    address: str
    fingerprint: str

    def shell(self, command: str) -> str:
        """Run a command as root on the board, not through SSH of ours."""
        ...


class Checks:
    """Counts what held and what did not."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def __call__(self, what: str, held: bool, detail: str = "") -> None:
        print(f"{'ok    ' if held else 'FAILED'} {what}{f' ({detail})' if detail else ''}", flush=True)
        if not held:
            self.failed.append(what)


class Controller:
    """The command line with a home, an SSH key and a configuration of its own."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.home = work / "home"
        self.key = work / "id"
        if not self.key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        self.config = work / "ssh_config"
        self.config.write_text(
            f"Host *\n UserKnownHostsFile {work}/known_hosts\n GlobalKnownHostsFile /dev/null\n"
            f" IdentityFile {self.key}\n IdentitiesOnly yes\n"
        )

        # A machine that is shared is not fit to measure; what is shown here is that it is measured at all.
        (work / "edgeloop.toml").write_text(
            'apiVersion = "edgeloop/v1"\nkind = "Config"\n[benchmark]\nrounds = 2\nas_deployed = true\n'
        )

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("edgeloop")), "--home", str(self.home), *words]

    def environment(self, agent: Path | None = None) -> dict[str, str]:
        """Return the environment; ``agent`` holds another edgeloop_agent that is found first."""
        more = {"PYTHONPATH": str(agent)} if agent else {}
        return {**os.environ, **more, "SSH_AUTH_SOCK": "", "ORT_DISABLE_TELEMETRY": "1"}

    def run(self, *words: str, agent: Path | None = None, timeout_s: float = 1800) -> tuple[int, str]:
        """Run a verb and return status and all that it wrote; no terminal is there."""
        done = subprocess.run(
            self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=self.environment(agent), cwd=self.work, timeout=timeout_s,
        )  # fmt: skip
        return done.returncode, done.stdout

    def killed(self, *words: str, when: Callable[[], bool], timeout_s: float = 900) -> bool:
        """Start a verb and kill it (-9) when a condition holds; return whether it was still running then."""
        child = subprocess.Popen(
            self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=self.environment(), cwd=self.work, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + timeout_s
        while child.poll() is None and time.monotonic() < end:
            if when():
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                return True
            time.sleep(0.02)
        child.kill()
        child.wait()
        return False


def build_model(path: Path) -> Path:
    """Write a small real model."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def other_agent(work: Path, name: str, old: str, new: str) -> Path:
    """Copy the installed agent with one change in its daemon; return the directory to find it in."""
    import edgeloop_agent

    source = Path(edgeloop_agent.__file__).parent
    target = work / name / "edgeloop_agent"
    shutil.rmtree(target.parent, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    daemon = target / "daemon.py"
    text = daemon.read_text()
    if old not in text:
        sys.exit(f"{daemon} has no {old!r}: this script needs a change")
    daemon.write_text(text.replace(old, new))
    return target.parent


def current(board: Board, root: str) -> str:
    return board.shell(f"readlink {root}/agent/current || true").strip()


def refusals(check: Checks, board: Board, controller: Controller) -> None:
    """Nothing is done for a key that nobody vouches for."""
    add = ("device", "add", board.address, "--name", "pi", "--ssh-config", str(controller.config), "--yes")
    status, said = controller.run(*add)
    check("an unknown host key is refused", status == 3 and board.fingerprint in said, said.strip()[-400:])
    wrong = "SHA256:" + "A" * 43
    status, said = controller.run(*add, "--host-key", wrong)
    check("another key than the given one is refused", status == 3 and "another one than" in said)
    status, said = controller.run(*add, "--host-key", board.fingerprint, "--dry-run")
    check("a dry run shows the steps", status == 0 and "build" in said and "(dry run)" in said)
    print("    " + said.replace("\n", "\n    ").rstrip())
    check(
        "a dry run leaves nothing", board.shell(FIND_OURS).strip() == "", board.shell(FIND_OURS).strip()[:200]
    )


FIND_OURS = (
    "find /home /root /opt /etc /var /run /usr/local -iname '*edgeloop*' -not -path '/proc/*' 2>/dev/null; "
    "pgrep -af 'edgeloop_agen[t]|run/supervis[e]' || true"
)


def add_with_kills(check: Checks, board: Board, controller: Controller, root: str, incoming: str) -> None:
    """Kill the controller while it sends and while the board builds; then one command to the first benchmark."""
    add = ["device", "add", board.address, "--name", "pi", "--ssh-config", str(controller.config), "--yes"]
    add += ["--host-key", board.fingerprint]

    def arrived() -> int:
        return int(board.shell(f"du -sb {incoming} 2>/dev/null | cut -f1 || true").strip() or 0)

    hit = controller.killed(*add, when=lambda: arrived() > 12_000_000)
    kept = arrived()
    check("killed in the middle of sending", hit and kept > 12_000_000, f"{kept / 1e6:.1f} MB are there")
    hit = controller.killed(
        *add, when=lambda: board.shell(f"ls -d {root}/agent/*.part 2>/dev/null || true") != ""
    )
    check("killed in the middle of building", hit and current(board, root) == "")
    model = build_model(controller.work / "small.onnx")
    started = time.monotonic()
    status, said = controller.run(*add, "--bench", str(model))
    took = time.monotonic() - started
    check("device add to the first measured benchmark in one command", status == 0, f"{took:.0f} s")
    print("    " + said.replace("\n", "\n    ").rstrip())
    check("it says what is ready", bool(re.search(r"^pi: ready, ", said, re.M)))
    check("the figures are measured", bool(re.search(r"small\.onnx .*\d ?[mµ]s .*measured", said)))
    status, said = controller.run(*add)
    check("again does nothing", status == 0 and "already" in said)
    status, said = controller.run("device", "list")
    check("it is in the inventory", status == 0 and "pi" in said and "ssh" in said)
    status, said = controller.run("device", "facts", "--on", "pi")
    check("its facts are there by its name", status == 0, said.strip().splitlines()[-1][:150])


def authority(check: Checks, controller: Controller) -> None:
    """From here on the fleet has an authority, so that adding a board enrols it."""
    status, said = controller.run("ca", "init", "--fleet", "bench")
    check("the fleet has an authority", status == 0, said.strip()[-200:])


def enrolled(
    check: Checks, board: Board, controller: Controller, root: str, state: str, address: str
) -> None:
    """The identity that the board was given while it was added stands up to mutual TLS, and to nothing else."""
    status, said = controller.run("device", "doctor", "--on", "pi")
    identity = next((line.strip() for line in said.splitlines() if "spiffe://bench/device/pi" in line), "")
    check("the added board is enrolled", "spiffe://bench/device/pi" in said, identity or said.strip()[-300:])
    # A second agent on a copy of its state, which listens on the network as the first one never does.
    copy = "/home/pi/tls-state"
    agent = f"{root}/agent/current/bin/edgeloop-agent serve --name pi --state {copy} --listen {address}"
    board.shell(
        f"cp -a {state} {copy} && rm -f {copy}/lock && "
        f"nohup su pi -c 'exec {agent}' >/tmp/tls.log 2>&1 </dev/null & sleep 5"
    )
    over_tls = f"pi=grpc://{address}"
    status, said = controller.run("device", "facts", "--on", over_tls)
    log = board.shell("tail -n 3 /tmp/tls.log")
    check("it answers over mutual TLS as itself", status == 0, (said.strip().splitlines() or [log])[-1][:150])
    (controller.work / "stranger").mkdir(exist_ok=True)
    stranger = Controller(controller.work / "stranger")
    status, said = stranger.run("ca", "init", "--fleet", "bench")
    status, said = stranger.run("device", "facts", "--on", over_tls)
    refused = status == 3 and "Connection refused" not in said
    check("a controller of another authority is refused", refused, said.strip()[-200:])
    board.shell(f"pkill -f {copy}; rm -rf {copy} /tmp/tls.log")


def upgrades(check: Checks, board: Board, controller: Controller, root: str) -> None:
    """A better agent replaces the one before, a broken one does not."""
    first = current(board, root)
    good = other_agent(controller.work, "good", '_log.info("stopping")', '_log.info("stopping now")')
    started = time.monotonic()
    status, said = controller.run("device", "upgrade", "pi", "--yes", agent=good)
    second = current(board, root)
    check("upgrade", status == 0 and second not in ("", first), f"{time.monotonic() - started:.0f} s")
    check("the agent before is kept", board.shell(f"readlink {root}/agent/previous").strip() == first)
    broken = other_agent(
        controller.work,
        "broken",
        "    listener = _listener(options, identity)",
        '    raise InvalidInputError("broken on purpose.")',
    )
    status, said = controller.run("device", "upgrade", "pi", "--yes", agent=broken)
    check(
        "a broken agent is not accepted",
        status != 0 and "previous agent runs again" in said,
        said.strip()[-300:],
    )
    status, said = controller.run("device", "doctor", "--on", "pi")
    check("the agent before runs again", current(board, root) == second and "answers" in said)


def removal(check: Checks, board: Board, controller: Controller) -> None:
    """Nothing is left, here or there."""
    status, said = controller.run("device", "remove", "pi", "--yes")
    check("device remove", status == 0, said.strip()[-200:])
    left = board.shell(FIND_OURS).strip()
    check("remove leaves nothing on the board", left == "", left[:300])
    status, said = controller.run("device", "list")
    check("nor in the inventory", "ssh" not in said)
    known = controller.home / "ssh" / "known_hosts"
    check("nor its key", "ssh-ed25519" not in known.read_text())
