"""The filter of system calls, run by a small machine here: what it answers per call on both architectures."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from edgeloop_agent.runner.sandbox.seccomp import Instruction, build_filter
from edgeloop_agent.runner.sandbox.syscalls import TABLES

ALLOWED, REFUSED, UNKNOWN, KILLED = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS, 0x80000000
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
PID = 4242
# read, write, mmap, futex, exit_group: without them nothing runs.
NEEDED = {"x86_64": (0, 1, 9, 202, 231), "aarch64": (63, 64, 222, 98, 94)}


def answer(program: list[Instruction], audit: int, number: int, argument: int = 0) -> int:
    fields = {0: number, 4: audit, 16: argument}
    value, at = 0, 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x20:
            value = fields[operand]
        elif code == 0x06:
            return operand
        else:
            true = {0x15: value == operand, 0x35: value >= operand, 0x45: bool(value & operand)}[code]
            at += yes if true else no


@pytest.mark.parametrize("machine", TABLES)
def test_what_nobody_needs_is_refused_and_what_everybody_needs_is_not(machine: str) -> None:
    table = TABLES[machine]
    program = build_filter(table, PID)
    for name in (
        "socket",
        "connect",
        "execve",
        "ptrace",
        "mount",
        "bpf",
        "io_uring_setup",
        "unshare",
        "setxattr",
    ):
        assert answer(program, table.audit, table.numbers[name]) == REFUSED, name
    for number in NEEDED[machine]:
        assert answer(program, table.audit, number) == ALLOWED
    assert answer(program, table.audit, table.numbers["clone3"]) == UNKNOWN
    assert answer(program, 0x40000003, 1) == KILLED


@pytest.mark.parametrize("machine", TABLES)
def test_threads_and_own_signals_pass_and_processes_and_those_of_others_do_not(machine: str) -> None:
    table = TABLES[machine]
    program = build_filter(table, PID)
    asked = {
        ("clone", 0x3D0F00): ALLOWED,
        ("clone", 0x01200011): REFUSED,
        ("kill", PID): ALLOWED,
        ("kill", 1): REFUSED,
        ("kill", 0xFFFFFFFF): REFUSED,
        ("tgkill", PID): ALLOWED,
        ("tgkill", 1): REFUSED,
        ("prlimit64", 0): ALLOWED,
        ("prlimit64", PID): ALLOWED,
        ("prlimit64", 1): REFUSED,
    }
    found = {key: answer(program, table.audit, table.numbers[key[0]], key[1]) for key in asked}
    assert found == asked


def test_the_second_table_of_x86_64_is_closed() -> None:
    table = TABLES["x86_64"]
    assert answer(build_filter(table, PID), table.audit, 0x40000000 + 41) == REFUSED


def test_drivers_may_make_local_sockets_and_connect_none() -> None:
    table = TABLES["aarch64"]
    program = build_filter(table, PID, local_sockets=True)
    asked = {("socket", 1): ALLOWED, ("socket", 2): REFUSED, ("socket", 10): REFUSED, ("connect", 3): REFUSED}
    assert {key: answer(program, table.audit, table.numbers[key[0]], key[1]) for key in asked} == asked


@pytest.mark.skipif(not HEADER.exists(), reason="no kernel headers here")
def test_the_numbers_are_those_of_the_kernel_s_headers() -> None:
    defined = dict(
        line.split()[1:3] for line in HEADER.read_text().splitlines() if line.startswith("#define __NR_")
    )
    ours = {name: str(number) for name, number in TABLES["x86_64"].numbers.items()}
    assert {name: defined.get(f"__NR_{name}", number) for name, number in ours.items()} == ours
