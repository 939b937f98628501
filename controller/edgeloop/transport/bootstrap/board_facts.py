"""What a bare board is: the parser of the probe's answer, and no more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

from edgeloop_foundation.errors import UnavailableError, UnsupportedError

__all__ = ["AGENT_PYTHON_MIN", "BoardFacts", "BoardPython", "parse_probe", "probe_script"]

AGENT_PYTHON_MIN = (3, 10)
"""The oldest Python that the agent runs on."""

_ARCHITECTURES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7l",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPython:
    """One Python interpreter of a board."""

    path: str
    #: Major, minor, micro.
    version: tuple[int, int, int]
    #: Width of its pointers: a 32-bit system may run on a 64-bit kernel.
    bits: int
    #: Modules of interest that it finds, in the order of the probe.
    modules: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """Major and minor version for people and for pip."""
        return f"{self.version[0]}.{self.version[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardFacts:
    """What the probe found."""

    #: "aarch64", "x86_64" or "armv7l", of the userland.
    architecture: str
    #: Distribution as it calls itself.
    os_name: str
    #: Its identifier and those of its relatives, for example ("raspbian", "debian").
    os_family: tuple[str, ...]
    #: Major and minor version of glibc; None on another C library.
    glibc: tuple[int, int] | None
    #: Board as its device tree names it; empty when it has none.
    model: str
    #: First line of /etc/nv_tegra_release; empty when this is no Jetson.
    tegra: str
    memory_bytes: int | None
    #: Whether the kernel accounts memory by group, without which MemoryMax has no effect.
    memory_cgroup: bool
    user: str
    is_root: bool
    #: Home directory of the user.
    home: str
    #: Directory -> free bytes.
    free_bytes: tuple[tuple[str, int], ...]
    #: Whether systemd runs the machine.
    systemd: bool
    #: Whether this user has a systemd of their own.
    systemd_user: bool
    #: Whether that one stays after the last logout.
    linger: bool
    #: "yes" without a password, "password", or "none".
    sudo: str
    pythons: tuple[BoardPython, ...]
    #: Root directory -> digests of the current and the previous agent, empty when there is none.
    installed: tuple[tuple[str, str, str], ...] = ()

    @property
    def is_jetson(self) -> bool:
        """Whether this is a Jetson."""
        return bool(self.tegra) or "jetson" in self.model.lower()

    def free(self, directory: str) -> int | None:
        """Return the free bytes below a directory; None when it is not known."""
        return dict(self.free_bytes).get(directory)

    def versions_at(self, root: str) -> tuple[str, str]:
        """Return the digests of the current and the previous agent below a root directory."""
        return next(((current, previous) for at, current, previous in self.installed if at == root), ("", ""))

    def python(self) -> BoardPython:
        """Return the Python to stand the agent on: the system's own when it is new enough.

        Raises:
            UnsupportedError: none is; says what would work.
        """
        usable = [p for p in self.pythons if p.version[:2] >= AGENT_PYTHON_MIN]
        complete = [p for p in usable if {"venv", "zlib"} <= set(p.modules)]
        if complete:
            return complete[0]
        if usable:
            raise UnsupportedError(
                f"Python {usable[0].tag} on the board lacks the module venv or zlib.",
                next_step="Install it there, on Debian: apt-get install python3-venv",
            )
        found = ", ".join(p.tag for p in self.pythons) or "none"
        raise UnsupportedError(
            f"the agent needs Python {AGENT_PYTHON_MIN[0]}.{AGENT_PYTHON_MIN[1]} or newer, the board has {found}"
            f" ({self.os_name or 'unknown system'}).",
            next_step=self._python_advice(),
        )

    def _python_advice(self) -> str:
        if self.is_jetson:
            return "Flash JetPack 6, which has Python 3.10, or install a python3.10 beside the system's."
        if "debian" in self.os_family or "raspbian" in self.os_family:
            return (
                "Upgrade to Debian or Raspberry Pi OS 12 (Bookworm) or newer, or install a python3.11 there."
            )
        return "Install python3.10 or newer there; a second one beside the system's is enough."

    def headline(self) -> str:
        """Return what the board is, in one line; a Jetson is told first what it will do without."""
        board = self.model or "unnamed board"
        line = f"{board}, {self.architecture}, {self.os_name or 'unknown system'}"
        if self.is_jetson:
            vendor = next((p for p in self.pythons if "tensorrt" in p.modules), None)
            return (
                f"{line}: TensorRT is there"
                if vendor
                else f"{line}: CPU only, no vendor runtime (TensorRT) is there"
            )
        return line


def probe_script() -> bytes:
    """Return the script whose answer ``parse_probe`` reads."""
    return files("edgeloop.transport.bootstrap.on_board").joinpath("probe.sh").read_bytes()


def parse_probe(text: str) -> BoardFacts:
    """Read what the probe wrote.

    Raises:
        UnavailableError: that is no answer of the probe.
        UnsupportedError: the board is of a kind that no agent runs on.
    """
    pairs = [line.partition("=")[::2] for line in text.splitlines() if "=" in line]
    one = dict(pairs)
    if "architecture" not in one or "home" not in one:
        raise UnavailableError(
            f"the board's shell answered {text.strip()[:80]!r} instead of saying what it is.",
            next_step="See that a plain command works: ssh BOARD uname -m",
        )
    if one["kernel"] != "Linux":
        raise UnsupportedError(f"the agent runs on Linux, this board has {one['kernel']}.")
    pythons = tuple(
        dict.fromkeys(_python(value) for key, value in pairs if key == "python" and value.count("|") == 3)
    )
    return BoardFacts(
        architecture=_architecture(one, pythons),
        os_name=one.get("os", ""),
        os_family=tuple(one.get("os_family", "").split()),
        glibc=_glibc(one.get("libc", "")),
        model=one.get("model", ""),
        tegra=one.get("tegra", ""),
        memory_bytes=int(one["memory_kib"]) * 1024 if one.get("memory_kib", "").isdecimal() else None,
        memory_cgroup=one.get("memory_cgroup") == "yes",
        user=one.get("user", ""),
        is_root=one.get("uid") == "0",
        home=one["home"],
        free_bytes=tuple(
            (key.partition(":")[2], int(value) * 1024)
            for key, value in pairs
            if key.startswith("free_kib:") and value.isdecimal()
        ),
        systemd=one.get("systemd", "none") not in ("none", "", "offline"),
        systemd_user=one.get("systemd_user") == "yes",
        linger=one.get("linger") == "yes",
        sudo=one.get("sudo", "none"),
        pythons=pythons,
        installed=tuple(
            (root, value, one.get(f"previous:{root}", ""))
            for key, value in pairs
            for kind, _, root in (key.partition(":"),)
            if kind == "current" and value
        ),
    )


def _architecture(one: dict[str, str], pythons: tuple[BoardPython, ...]) -> str:
    found = _ARCHITECTURES.get(one["architecture"])
    if found is None:
        raise UnsupportedError(
            f"no agent runs on the architecture {one['architecture']}.",
            next_step="Known are aarch64, x86_64 and armv7l.",
        )
    narrow = one.get("bits") == "32" or (bool(pythons) and all(p.bits == 32 for p in pythons))
    return "armv7l" if found == "aarch64" and narrow else found


def _glibc(text: str) -> tuple[int, int] | None:
    match = re.match(r"glibc (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _python(text: str) -> BoardPython:
    path, version, bits, modules = text.split("|")
    major, minor, micro = (int(part) for part in version.split("."))
    return BoardPython(
        path=path,
        version=(major, minor, micro),
        bits=int(bits),
        modules=tuple(name for name in modules.split(",") if name),
    )
