"""Keys in files: who may read them, what opens them, what is said when one does not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from edgeloop.release.keys import KeyRing
from edgeloop_foundation.errors import AlreadyExistsError, InvalidInputError, NotFoundError


@pytest.mark.parametrize("passphrase", ["", "a long one, ünïcode"])
def test_a_key_signs_the_same_after_it_was_opened(tmp_path: Path, passphrase: str) -> None:
    made = KeyRing(tmp_path / "keys", passphrase).create("targets")
    opened = KeyRing(tmp_path / "keys", passphrase).open("targets")
    assert opened.public_key.keyid == made.public_key.keyid
    opened.public_key.verify_signature(made.sign(b"release"), b"release")
    assert made.sign(b"release").signature == opened.sign(b"release").signature


def test_only_the_owner_reads_a_key(tmp_path: Path) -> None:
    KeyRing(tmp_path).create("targets")
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_keys_are_two(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    assert ring.create("root-1").public_key.keyid != ring.create("root-2").public_key.keyid


def test_a_passphrase_locks_the_file(tmp_path: Path) -> None:
    KeyRing(tmp_path, "right").create("targets")
    assert b"ENCRYPTED" in (tmp_path / "targets.pem").read_bytes()
    for wrong in ("", "wrong"):
        with pytest.raises(InvalidInputError, match="EDGELOOP_RELEASE_PASSPHRASE"):
            KeyRing(tmp_path, wrong).open("targets")


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.create("targets")
    before = (tmp_path / "targets.pem").read_bytes()
    with pytest.raises(AlreadyExistsError, match="exists already"):
        ring.create("targets")
    assert (tmp_path / "targets.pem").read_bytes() == before


def test_what_is_no_key_of_ours_is_named(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    with pytest.raises(NotFoundError, match="--keys"):
        ring.open("targets")
    (tmp_path / "targets.pem").write_bytes(b"nothing")
    with pytest.raises(InvalidInputError, match="cannot be opened"):
        ring.open("targets")
    other = generate_private_key(SECP256R1())
    (tmp_path / "targets.pem").write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(InvalidInputError, match="no Ed25519 key"):
        ring.open("targets")
