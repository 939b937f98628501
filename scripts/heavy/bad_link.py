"""A bad link: carries Ethernet frames between a TAP here and one in another network namespace, and spoils some.

For kernels without sch_netem. Run as ``bad_link.py PID NAME HERE/24 THERE/24``: the far end is ``eth0`` in the network
namespace of process PID. Lines on standard input set what happens, each is answered by a line:

    loss=PERCENT delay=MS rate=MBIT    of every frame, in each direction; 0 for none
    down, up                           nothing passes; all passes again
    forget both | forget answers       connections that were seen until now are dead from now on without a word, in both
                                       directions or from there to here alone; new ones pass (a NAT that lost its table)
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

_TUNSETIFF, _TAP, _NO_PI, _NEWNET = 0x400454CA, 0x2, 0x1000, 0x40000000
_FRAME_BYTES_MAX = 65536
# More than this long in the queue of a slow link is dropped, as a router would.
_QUEUE_S = 0.4
_IPV4, _TCP = 0x0800, 6


def _tap(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP | _NO_PI))
    return end


def _tap_of(pid: int) -> int:
    """Make ``eth0`` in the namespace of a process."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if libc.setns(there, _NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    try:
        return _tap("eth0")
    finally:
        libc.setns(here, _NEWNET)


def _ports(frame: bytes) -> frozenset[int]:
    """Return the ports of a TCP frame, which name its connection; none for another frame."""
    if len(frame) < 38 or int.from_bytes(frame[12:14], "big") != _IPV4 or frame[23] != _TCP:
        return frozenset()
    start = 14 + (frame[14] & 0xF) * 4
    return frozenset(struct.unpack_from("!HH", frame, start))


class Link:
    """Frames between two ends."""

    def __init__(self, here: int, there: int) -> None:
        self._other = {here: there, there: here}
        self._there = there
        self._loss = self._delay_s = self._bits_per_s = 0.0
        self._down = False
        self._seen: set[frozenset[int]] = set()
        self._dead: dict[frozenset[int], str] = {}
        self._free_s = {here: 0.0, there: 0.0}
        self._queue: list[tuple[float, int, int, bytes]] = []
        self._count = 0

    def obey(self, line: str) -> str:
        """Change what happens and say what was changed."""
        words = line.split()
        if words[0] == "forget":
            dead = {flow: words[1] for flow in self._seen if flow not in self._dead}
            self._dead |= dead
            return f"forgot {len(dead)}"
        for word in words:
            name, _, value = word.partition("=")
            if name == "loss":
                self._loss = float(value) / 100
            elif name == "delay":
                self._delay_s = float(value) / 1000
            elif name == "rate":
                self._bits_per_s = float(value) * 1e6
            elif name in ("down", "up"):
                self._down = name == "down"
            else:
                raise ValueError(f"a link knows no {word!r}")
        return "done"

    def _drops(self, source: int, frame: bytes) -> bool:
        flow = _ports(frame)
        if flow:
            self._seen.add(flow)
        dead = self._dead.get(flow)
        if self._down or dead == "both" or (dead == "answers" and source == self._there):
            return True
        return random.random() < self._loss

    def take(self, source: int, frame: bytes) -> None:
        """Drop a frame or queue it for the other end."""
        if self._drops(source, frame):
            return
        sink, due_s = self._other[source], time.monotonic()
        if self._bits_per_s:
            if self._free_s[sink] - due_s > _QUEUE_S:
                return
            due_s = self._free_s[sink] = max(due_s, self._free_s[sink]) + len(frame) * 8 / self._bits_per_s
        self._count += 1
        heapq.heappush(self._queue, (due_s + self._delay_s, self._count, sink, frame))

    def wait_s(self) -> float | None:
        """Return how long until a frame is due."""
        return max(0.0, self._queue[0][0] - time.monotonic()) if self._queue else None

    def deliver(self) -> None:
        """Hand over what is due."""
        while self._queue and self._queue[0][0] <= time.monotonic():
            _, _, sink, frame = heapq.heappop(self._queue)
            try:
                os.write(sink, frame)
            except OSError:
                continue  # an end that takes nothing loses it, as an interface does


def _frames(end: int) -> list[bytes]:
    frames: list[bytes] = []
    try:
        while len(frames) < 64:
            frames.append(os.read(end, _FRAME_BYTES_MAX))
    except BlockingIOError:
        pass
    return frames


def _ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True)


def main() -> None:
    pid, name, address_here, address_there = sys.argv[1:]
    here, there = _tap(name), _tap_of(int(pid))
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
    _ip("addr", "add", address_here, "dev", name)
    _ip("link", "set", name, "up")
    for words in (
        ("link", "set", "lo", "up"),
        ("addr", "add", address_there, "dev", "eth0"),
        ("link", "set", "eth0", "up"),
    ):
        subprocess.run((*inside, *words), check=True)
    link = Link(here, there)
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select((0, here, there), (), (), link.wait_s())
        if 0 in readable:
            order = os.read(0, 4096).decode()
            if not order:
                return
            print(link.obey(order), flush=True)
        for end in readable:
            for frame in _frames(end) if end else ():
                link.take(end, frame)
        link.deliver()


if __name__ == "__main__":
    main()
