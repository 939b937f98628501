"""Reading certificates without a library, held against one."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from edgeloop.identity.x509 import Signing, new_key, public_key_digest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.certificate import certificates_in, private_keys_in, read_certificate
from edgeloop_protocol.types.identity import DAY_S, Identity, Role
from hypothesis import given
from hypothesis import strategies as st

ROOT_KEY = new_key()[0]
ROOT = Signing.create("lab", 1, ROOT_KEY, time.time())
DESK = Identity(fleet="lab", role=Role.CONTROLLER, name="desk")


@pytest.mark.parametrize("life_days", [1.0, 30.0, 365.0 * 40])
def test_the_fields_are_those_that_the_library_reads(life_days: float) -> None:
    key = new_key()[0]
    pem = ROOT.issue(DESK, key.public_key(), time.time(), life_days * DAY_S)
    library = x509.load_pem_x509_certificate(pem.encode())
    for form in (pem, library.public_bytes(Encoding.DER)):
        read = read_certificate(form)
        assert read.public_key == public_key_digest(key.public_key())
        assert read.not_before_s == library.not_valid_before_utc.timestamp()
        assert read.not_after_s == library.not_valid_after_utc.timestamp()
        assert read.uris == (DESK.uri,)
        assert read.issuer == library.issuer.public_bytes()
    assert read_certificate(ROOT.certificate_pem).uris == ()
    assert read_certificate(ROOT.certificate_pem).public_key == ROOT.public_key


def test_a_file_of_key_and_chain_is_taken_apart() -> None:
    _, pem = new_key()
    chain = ROOT.issue(DESK, ROOT_KEY.public_key(), time.time())
    text = pem.decode() + chain + ROOT.certificate_pem
    assert certificates_in(text) == (chain, ROOT.certificate_pem)
    assert private_keys_in(text) == (pem.decode(),)


DER = x509.load_pem_x509_certificate(ROOT.certificate_pem.encode()).public_bytes(Encoding.DER)


@given(st.integers(0, len(DER) - 1), st.binary(max_size=4))
def test_damage_is_another_certificate_or_none_but_never_a_crash(at: int, patch: bytes) -> None:
    with contextlib.suppress(InvalidInputError):
        assert len(read_certificate(DER[:at] + patch + DER[at + len(patch) :]).public_key) == 64
    with pytest.raises(InvalidInputError, match=r"no X\.509 certificate"):
        read_certificate(DER[:at])


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_what_is_no_certificate_is_refused(data: bytes | str) -> None:
    with pytest.raises(InvalidInputError):
        read_certificate(data)


def test_a_pem_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        read_certificate(new_key()[1].decode())
