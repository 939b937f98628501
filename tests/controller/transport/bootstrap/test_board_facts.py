"""The probe's answers to facts; the probe itself, on this machine."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest
from edgeloop.transport.bootstrap.board_facts import BoardFacts, parse_probe, probe_script
from edgeloop_foundation.errors import UnavailableError, UnsupportedError

PROBES = Path(__file__).parents[3] / "fixtures" / "probes"


def facts(name: str) -> BoardFacts:
    return parse_probe((PROBES / f"{name}.txt").read_text())


def test_the_probe_tells_the_truth_about_this_machine_and_changes_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    answer = subprocess.run(
        ["sh", "-s"],
        input=probe_script(),
        capture_output=True,
        check=True,
        timeout=60,
        env=environment,
        cwd=tmp_path,
    )
    assert list(tmp_path.iterdir()) == []
    assert answer.stderr == b""
    found = parse_probe(answer.stdout.decode())
    assert found.architecture == platform.machine()
    assert found.home == str(tmp_path)
    assert found.is_root == (os.geteuid() == 0)
    assert (found.free(found.home) or 0) > 0
    assert any(python.version[:2] >= (3, 10) for python in found.pythons)
    libc, version = platform.libc_ver()
    if libc == "glibc":
        assert found.glibc == tuple(int(part) for part in version.split(".")[:2])


def test_a_raspberry_pi() -> None:
    found = facts("raspberry_pi_os_bookworm")
    assert (found.architecture, found.glibc, found.sudo, found.systemd) == ("aarch64", (2, 36), "yes", True)
    assert found.memory_bytes == 8245632 * 1024
    assert not found.memory_cgroup
    assert [python.tag for python in found.pythons] == ["3.11"], "one interpreter by two names is one"
    assert found.python().path == "/usr/bin/python3"
    assert found.versions_at("/opt/edgeloop") == ("aaa", "bbb")
    assert found.versions_at("/home/pi/.local/share/edgeloop") == ("", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("jetson_orin_jetpack_6", "TensorRT is there"),
        ("jetson_orin_without_tensorrt", "CPU only"),
        ("raspberry_pi_os_bookworm", "Raspberry Pi 5 Model B Rev 1.0, aarch64"),
    ],
)
def test_the_first_line(name: str, said: str) -> None:
    line = facts(name).headline()
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("name", "found", "advice"),
    [
        ("raspberry_pi_os_bullseye", "has 3.9", "Bookworm"),
        ("jetson_nano_jetpack_4", "has 3.6", "JetPack 6"),
        ("board_without_python", "has none", "python3.11"),
    ],
)
def test_a_python_that_is_too_old_is_told_what_would_work(name: str, found: str, advice: str) -> None:
    with pytest.raises(UnsupportedError, match=found) as caught:
        facts(name).python()
    assert advice in caught.value.next_step


def test_a_32_bit_system_on_a_64_bit_kernel_is_one_of_32_bits() -> None:
    assert facts("raspberry_pi_os_32_bit_on_64_bit_kernel").architecture == "armv7l"


def test_another_c_library_is_none_of_glibc() -> None:
    assert facts("container_alpine").glibc is None


@pytest.mark.parametrize("text", ["", "bash: sh: command not found", "Welcome!\nkernel=Linux\n"])
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(UnavailableError, match="instead of saying what it is"):
        parse_probe(text)


def test_a_greeting_of_the_shell_does_no_harm() -> None:
    text = (PROBES / "raspberry_pi_os_bookworm.txt").read_text()
    assert parse_probe(f"Welcome to pi\n{text}") == parse_probe(text)


@pytest.mark.parametrize(("old", "new"), [("kernel=Linux", "kernel=FreeBSD"), ("=aarch64", "=riscv64")])
def test_another_system_or_architecture(old: str, new: str) -> None:
    text = (PROBES / "raspberry_pi_os_bookworm.txt").read_text().replace(old, new, 1)
    with pytest.raises(UnsupportedError, match=new.partition("=")[2]):
        parse_probe(text)
