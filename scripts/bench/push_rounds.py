"""One round of pushes: each way brings the same fresh file once, in random order."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeloop.domain.device import DeviceSpec
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop.store.chunking import chunk_stream, mean_bytes
from edgeloop.transport.base import TRANSPORTS, connect
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from mutual_tls import RunningAgent, agent
from real_sshd import RunningSshd

MIB = 1 << 20
WAYS = ("tls", "plain", "ssh", "scp", "scp-gcm", "rsync")
"""Ours over mutual TLS, over loopback in the clear, and through SSH; then what everybody has."""


def random_file(path: Path, size_bytes: int) -> None:
    """Write bytes that nobody has seen, a little at a time."""
    with path.open("wb") as file:
        left = size_bytes
        while left > 0:
            file.write(os.urandom(min(left, MIB)))
            left -= MIB


def touch_memory(path: Path, size_bytes: int) -> None:
    """Write a file that whoever is measured removes just before: its pages are then those that the copy is cached in.

    A virtual machine gives memory that is free for seconds back to its host, and the first touch of each page then
    costs ten times what copying into it does (seen here: 3 ms a MiB against 0.25); whoever came first would pay it.
    """
    data = bytes(MIB)
    with path.open("wb") as file:
        for _ in range(0, size_bytes, MIB):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())


def keep(store: ArtifactDirectory, path: Path) -> str:
    """Store a file as an artifact and return the artifact's digest."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(MIB):
            hasher.update(piece)
    entry = FileEntry(name="model.bin", digest=hasher.hexdigest(), size_bytes=path.stat().st_size)
    manifest = Artifact(
        format="onnx", label="bench", files=(entry,), model_file=entry.name, source_digest=entry.digest
    )
    return store.put(manifest, {entry.name: path})


async def _push(spec: DeviceSpec, store: ArtifactDirectory, digest: str, home: Path) -> dict[str, Any]:
    started = time.monotonic()
    async with connect(spec, home) as client:
        result = await client.push_artifact(digest, store)
    # The last word is said: that the connection is closed as well costs nothing that a user waits for.
    return {
        "seconds": time.monotonic() - started,
        "push_seconds": result.duration_s,
        "sent_bytes": result.sent_bytes,
        "spliced_bytes": result.spliced_bytes,
        "breaks": result.retries,
    }


def child(words: dict[str, Any]) -> None:
    """Push in this process and print what it took; a process of its own, so that its memory can be told."""
    store = ArtifactDirectory(Path(words["store"]))
    entry = store.manifest(words["digest"]).files[0]
    # As in the process that built it: the store has compared the digest already.
    store.blob(entry.digest)
    Path(words["touched"]).unlink()
    # The libraries are loaded with the first device of this kind: a part of the start of the program.
    TRANSPORTS.load(words["transport"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spec = DeviceSpec(
        name="bench",
        transport=words["transport"],
        address=words["address"],
        options=tuple((name, value) for name, value in words["options"]),
    )
    told = asyncio.run(_push(spec, store, words["digest"], Path(words["home"])))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**told, "rss_before_kib": before, "rss_kib": after}))


def push_in_child(spec: DeviceSpec, store: Path, digest: str, home: Path) -> dict[str, Any]:
    words = {
        "touched": str(store.with_name("touched")),
        "store": str(store),
        "digest": digest,
        "home": str(home),
        "transport": spec.transport,
        "address": spec.address,
        "options": spec.options,
    }
    program = Path(__file__).with_name("push")
    done = subprocess.run(
        [sys.executable, str(program), "--child", json.dumps(words)], stdout=subprocess.PIPE, check=True
    )
    return dict(json.loads(done.stdout))


def peak_kib(pid: int) -> int:
    """Return the highest resident memory of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


@contextlib.contextmanager
def _agent(place: Path, way: str, ssh: RunningSshd | None) -> Iterator[tuple[RunningAgent, DeviceSpec]]:
    if way == "ssh" and ssh is not None:
        socket = place / "agent.sock"
        with agent(place, tls=False, socket=socket) as running:
            yield running, ssh.device("bench", socket)
        return
    with agent(place, tls=way == "tls") as running:
        yield running, running.device


def ours(way: str, place: Path, store: Path, digest: str, ssh: RunningSshd | None) -> dict[str, Any]:
    """Push to a fresh agent, so that no round works on the page cache of another one's store."""
    with _agent(place, way, ssh) as (running, spec):
        told = push_in_child(spec, store, digest, place)
        told["agent_peak_kib"] = peak_kib(running.pid)
    if told["breaks"] or told["spliced_bytes"]:
        sys.exit(f"not a clean push: {told}")
    return told


def theirs(way: str, place: Path, source: Path, ssh: RunningSshd, rsync: str) -> dict[str, Any]:
    place.mkdir()
    there = f"{ssh.user}@127.0.0.1:{place}/copy"
    scp = ["scp", *ssh.client_options, "-P", str(ssh.port)]
    if way == "scp-gcm":
        scp += ["-c", "aes128-gcm@openssh.com"]
    command = [*scp, str(source), there]
    if way == "rsync":
        shell = " ".join(["ssh", *ssh.client_options, "-p", str(ssh.port)])
        command = [rsync, "--whole-file", "--rsync-path", rsync, "-e", shell, str(source), there]
    source.with_name("touched").unlink()
    started = time.monotonic()
    subprocess.run(command, check=True)
    seconds = time.monotonic() - started
    if (place / "copy").stat().st_size != source.stat().st_size:
        sys.exit(f"{way} brought something else")
    return {"seconds": seconds}


def one_round(
    home: Path, ways: list[str], size_bytes: int, ssh: RunningSshd | None, rsync: str, seed: int
) -> dict[str, dict[str, Any]]:
    """Return what each way took for one fresh file."""
    place = home / f"round{seed}"
    place.mkdir()
    source = place / "source"
    random_file(source, size_bytes)
    store = ArtifactDirectory(place / "store")
    digest = keep(store, source)
    started = time.monotonic()
    with source.open("rb", buffering=0) as file:
        sum(1 for _ in chunk_stream(file.read, mean_bytes(size_bytes)))
    told: dict[str, dict[str, Any]] = {"cut": {"seconds": time.monotonic() - started}}
    order = list(ways)
    random.Random(seed).shuffle(order)
    for way in order:
        touch_memory(place / "touched", size_bytes + size_bytes // 4)
        os.sync()
        if way in ("tls", "plain", "ssh"):
            told[way] = ours(way, place / way, place / "store", digest, ssh)
        elif ssh is not None:
            told[way] = theirs(way, place / way, source, ssh, rsync)
        shutil.rmtree(place / way)
    shutil.rmtree(place)
    return told
