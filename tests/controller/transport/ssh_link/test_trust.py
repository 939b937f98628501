"""Fingerprints and our own file of known hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which

import paramiko
import pytest
from edgeloop.transport.ssh_link.trust import check_pin, fingerprint, forget, known_name, own_file, remember
from edgeloop_foundation.errors import InvalidInputError

KEY = "ecdsa-sha2-nistp256"


@pytest.mark.skipif(which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_fingerprint_is_the_one_that_openssh_shows(tmp_path: Path) -> None:
    key = paramiko.ECDSAKey.generate()
    path = tmp_path / "key.pub"
    path.write_text(f"{key.get_name()} {key.get_base64()}\n")
    shown = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True).stdout
    assert fingerprint(key) == shown.split()[1]


@pytest.mark.parametrize("text", ["", "MD5:00:11", "SHA256:short", "SHA256:" + "ä" * 43])
def test_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(InvalidInputError, match="ssh-keygen -l"):
        check_pin(text)


def test_our_file_holds_one_key_a_host_and_forgets(tmp_path: Path) -> None:
    first, second = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    remember(tmp_path, known_name("a", 22), first)
    remember(tmp_path, known_name("b", 2222), first)
    remember(tmp_path, "a", second)
    known = paramiko.HostKeys(str(own_file(tmp_path)))
    assert known.check("a", second)
    assert not known.check("a", first)
    assert known.check("[b]:2222", first)
    forget(tmp_path, "a")
    known = paramiko.HostKeys(str(own_file(tmp_path)))
    assert known.lookup("a") is None
    assert known.check("[b]:2222", first)
