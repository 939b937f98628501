"""A home with something in it for scripts/bench/dashboard: a fleet, an experiment, a rollout, odd names."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))

HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    '"><script>window.hacked=1</script>',
    "{{7*7}} \u202egnp.exe ${1+1}",
    "'-alert(1)-'",
)
"""Names of devices as somebody with bad intentions, or odd taste, would choose them."""


class Ground:
    """One home, and the command line on it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def call(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [EDGELOOP, "--home", str(self.home), "--quiet", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"edgeloop {' '.join(words)}: {done.stdout}{done.stderr}")
        return done

    @contextlib.contextmanager
    def fleet(self, count: int, mix: str = "") -> Iterator[list[str]]:
        """Run a fleet of simulated boards and yield the sockets of its boards, by name."""
        words = ["--mix", mix] if mix else []
        self.call("sim", "up", "--name", "hall", "--count", str(count), "--detach", *words)
        try:
            yield self.sockets()
        finally:
            self.call("sim", "down", "hall")

    def sockets(self) -> list[str]:
        """Return the sockets of the fleet's boards."""
        plan = json.loads((self.home / "fleets" / "hall" / "fleet.json").read_text())
        return [board["socket"] for board in plan["boards"]]

    def name_devices(self, sockets: list[str]) -> None:
        """Write an inventory in which boards have hostile names, with labels and groups."""
        lines = []
        for number, (name, socket) in enumerate(zip(HOSTILE, sockets, strict=False)):
            lines.append(f'[devices.{json.dumps(name)}]\naddress = "unix:{socket}"')
            lines.append(f'labels = {{ rack = "{number}" }}\ngroups = ["odd"]\n')
        (self.home / "devices.toml").write_text("\n".join(lines))

    def experiment(self, directory: Path, boards: str) -> str:
        """Run a real experiment on boards and return the digest of the original's artifact."""
        write_model(directory)
        self.call(
            "run", str(directory / "model.onnx"), "--data", str(directory / "data.npz"), "--on", boards,
            "--require", "accuracy_drop < 2%", "--prefer", "latency_p50", "--as-deployed", "--json",
        )  # fmt: skip
        listed = json.loads(self.call("artifact", "list", "--json").stdout)["artifacts"]
        return str(listed[0]["digest"])

    def rollout(self, directory: Path, artifact: str, boards: list[str]) -> None:
        """Sign a release and bring it to a canary; the second wave waits for an approval."""
        self.call("release", "init")
        self.call("release", "sign", artifact, "--name", "clouds")
        (directory / "plan.toml").write_text(
            f'release = "clouds"\non = {json.dumps(boards)}\ntrial_s = 0\nwatch_s = 1\nwatch_every_s = 1\n'
            '[[waves]]\nname = "canary"\ncount = 1\n'
            '[[waves]]\nname = "rest"\nrest = true\napprove = true\n'
            '[gate]\nrequired = ["parity"]\n'
        )
        self.call("rollout", "start", str(directory / "plan.toml"), check=False)


@contextlib.contextmanager
def serving(home: Path, *words: str) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """Run edgeloop serve and yield its address and the operator's token."""
    command = [EDGELOOP, "--home", str(home), "serve", "--listen", "127.0.0.1:0", "--json", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said: dict[str, Any] = json.loads(process.stdout.readline())
        token = Path(said["token_files"]["operator"]).read_text().strip()
        yield said["url"], token, process
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def write_model(directory: Path) -> None:
    """Write a classifier of four overlapping clouds of points and labelled data for it."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    features, hidden_count, classes, items = 64, 512, 4, 600
    rng = np.random.default_rng(7)
    labels = np.arange(items) % classes
    centres = rng.standard_normal((classes, features)) * 0.6
    points = (centres[labels] + rng.standard_normal((items, features))).astype(np.float32)
    first = (rng.standard_normal((features, hidden_count)) / 8).astype(np.float32)
    second = (rng.standard_normal((hidden_count, hidden_count)) / 20).astype(np.float32)
    hidden = np.maximum(np.maximum(points @ first, 0) @ second, 0)
    last = np.linalg.lstsq(hidden, np.eye(classes)[labels] * 8, rcond=1e-2)[0].astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["a1"]),
        helper.make_node("MatMul", ["a1", "w2"], ["h2"]),
        helper.make_node("Relu", ["h2"], ["a2"]),
        helper.make_node("MatMul", ["a2", "w3"], ["logits"]),
    ]
    weights = [numpy_helper.from_array(w, n) for w, n in ((first, "w1"), (second, "w2"), (last, "w3"))]
    graph = helper.make_graph(
        nodes,
        "clouds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        weights,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        directory / "model.onnx",
    )
    np.savez(directory / "data.npz", x=points, labels=labels)


def plain(name: str) -> str:
    """Return the part of a hostile name that has to be readable on the page, whatever is escaped in it."""
    return re.split("[\u202a-\u202e]", name)[0].strip()
