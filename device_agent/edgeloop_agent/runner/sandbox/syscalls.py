"""Numbers of the system calls that a runner has no use for, one table per architecture.

Source: the kernel's ``arch/x86/entry/syscalls/syscall_64.tbl`` and ``include/uapi/asm-generic/unistd.h``; numbers from
424 on are the same everywhere.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass

__all__ = ["TABLES", "Architecture", "this_architecture"]

_WORD = 1 << 32
_COMMON = {
    "clone3": 435, "fchmodat2": 452, "file_setattr": 469, "fsconfig": 431, "fsmount": 432, "fsopen": 430, "fspick": 433,
    "io_uring_enter": 426, "io_uring_register": 427, "io_uring_setup": 425, "landlock_add_rule": 445,
    "landlock_create_ruleset": 444, "landlock_restrict_self": 446, "mount_setattr": 442, "move_mount": 429,
    "open_tree": 428, "pidfd_getfd": 438, "pidfd_open": 434, "pidfd_send_signal": 424, "process_madvise": 440,
    "process_mrelease": 448, "quotactl_fd": 443, "removexattrat": 466, "setxattrat": 463,
}  # fmt: skip
_X86_64 = {
    "accept": 43, "accept4": 288, "acct": 163, "add_key": 248, "adjtimex": 159, "bind": 49, "bpf": 321, "capset": 126,
    "chmod": 90, "chown": 92, "chroot": 161, "clock_adjtime": 305, "clock_settime": 227, "clone": 56, "connect": 42,
    "delete_module": 176, "execve": 59, "execveat": 322, "fanotify_init": 300, "fchmod": 91, "fchmodat": 268,
    "fchown": 93, "fchownat": 260, "finit_module": 313, "fork": 57, "fremovexattr": 199, "fsetxattr": 190,
    "futimesat": 261, "init_module": 175, "ioperm": 173, "iopl": 172, "kcmp": 312, "kexec_file_load": 320,
    "kexec_load": 246, "keyctl": 250, "kill": 62, "lchown": 94, "listen": 50, "lookup_dcookie": 212,
    "lremovexattr": 198, "lsetxattr": 189, "migrate_pages": 256, "mount": 165, "move_pages": 279,
    "name_to_handle_at": 303, "nfsservctl": 180, "open_by_handle_at": 304, "perf_event_open": 298, "personality": 135,
    "pivot_root": 155, "prlimit64": 302, "process_vm_readv": 310, "process_vm_writev": 311, "ptrace": 101,
    "quotactl": 179, "reboot": 169, "removexattr": 197, "request_key": 249, "rt_sigqueueinfo": 129,
    "rt_tgsigqueueinfo": 297, "sched_setattr": 314, "sched_setparam": 142, "sched_setscheduler": 144, "seccomp": 317,
    "setdomainname": 171, "sethostname": 170, "setns": 308, "setpriority": 141, "settimeofday": 164, "setxattr": 188,
    "socket": 41, "socketpair": 53, "swapoff": 168, "swapon": 167, "syslog": 103, "tgkill": 234, "tkill": 200,
    "truncate": 76, "umount2": 166, "unshare": 272, "uselib": 134, "userfaultfd": 323, "utime": 132, "utimensat": 280,
    "utimes": 235, "vfork": 58, "vhangup": 153,
}  # fmt: skip
_AARCH64 = {
    "accept": 202, "accept4": 242, "acct": 89, "add_key": 217, "adjtimex": 171, "bind": 200, "bpf": 280, "capset": 91,
    "chroot": 51, "clock_adjtime": 266, "clock_settime": 112, "clone": 220, "connect": 203, "delete_module": 106,
    "execve": 221, "execveat": 281, "fanotify_init": 262, "fchmod": 52, "fchmodat": 53, "fchown": 55, "fchownat": 54,
    "finit_module": 273, "fremovexattr": 16, "fsetxattr": 7, "init_module": 105, "kcmp": 272, "kexec_file_load": 294,
    "kexec_load": 104, "keyctl": 219, "kill": 129, "listen": 201, "lookup_dcookie": 18, "lremovexattr": 15,
    "lsetxattr": 6, "migrate_pages": 238, "mount": 40, "move_pages": 239, "name_to_handle_at": 264, "nfsservctl": 42,
    "open_by_handle_at": 265, "perf_event_open": 241, "personality": 92, "pivot_root": 41, "prlimit64": 261,
    "process_vm_readv": 270, "process_vm_writev": 271, "ptrace": 117, "quotactl": 60, "reboot": 142, "removexattr": 14,
    "request_key": 218, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "sched_setattr": 274, "sched_setparam": 118,
    "sched_setscheduler": 119, "seccomp": 277, "setdomainname": 162, "sethostname": 161, "setns": 268,
    "setpriority": 140, "settimeofday": 170, "setxattr": 5, "socket": 198, "socketpair": 199, "swapoff": 225,
    "swapon": 224, "syslog": 116, "tgkill": 131, "tkill": 130, "truncate": 45, "umount2": 39, "unshare": 97,
    "userfaultfd": 282, "utimensat": 88, "vhangup": 58,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One instruction set as the kernel's filters see it."""

    #: AUDIT_ARCH of <linux/audit.h>: a call through another entry has other numbers.
    audit: int
    #: Lowest number of a second table behind the same entry (x32); 0 when there is none.
    foreign_from: int
    #: Number by name.
    numbers: dict[str, int]


TABLES = {
    "x86_64": Architecture(audit=0xC000003E, foreign_from=0x40000000, numbers={**_COMMON, **_X86_64}),
    "aarch64": Architecture(audit=0xC00000B7, foreign_from=0, numbers={**_COMMON, **_AARCH64}),
}


def this_architecture() -> Architecture | None:
    """Return the table of this process; None where nobody wrote one, such as for 32-bit ARM."""
    # A 32-bit Python on a 64-bit kernel enters by another table.
    return TABLES.get(platform.machine()) if sys.maxsize > _WORD else None
