"""The fleet's authority: what it signs, what it refuses, and what is left after a cut."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from cryptography import x509 as lib
from cryptography.x509.oid import ExtendedKeyUsageOID
from edgeloop.domain.identity import HolderFiles
from edgeloop.identity import x509
from edgeloop.identity.authority import Authority, host_label
from edgeloop_foundation.errors import (
    AlreadyExistsError,
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
    StateError,
    UnauthenticatedError,
)
from edgeloop_protocol.certificate import read_certificate
from edgeloop_protocol.convert.json import from_json
from edgeloop_protocol.types.identity import DAY_S, Identity, Role, TrustList

PI = Identity(fleet="lab", role=Role.DEVICE, name="pi")
EVE = Identity(fleet="lab", role=Role.OBSERVER, name="eve")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority", "lab")


def request(identity: Identity) -> str:
    return x509.request_for(identity, x509.new_key()[0])


def test_a_certificate_has_one_name_one_usage_and_thirty_days(authority: Authority) -> None:
    for identity, usage in ((PI, ExtendedKeyUsageOID.SERVER_AUTH), (EVE, ExtendedKeyUsageOID.CLIENT_AUTH)):
        leaf = lib.load_pem_x509_certificate(authority.sign(request(identity), identity).chain.encode())
        names = leaf.extensions.get_extension_for_class(lib.SubjectAlternativeName).value
        assert names.get_values_for_type(lib.UniformResourceIdentifier) == [identity.uri]
        assert names.get_values_for_type(lib.DNSName) == [identity.server_name]
        assert list(leaf.extensions.get_extension_for_class(lib.ExtendedKeyUsage).value) == [usage]
        assert leaf.extensions.get_extension_for_class(lib.BasicConstraints).value.ca is False
        now_s = time.time()
        assert leaf.not_valid_after_utc.timestamp() == pytest.approx(now_s + 30 * DAY_S, abs=60)
        assert leaf.not_valid_before_utc.timestamp() == pytest.approx(now_s - 7 * DAY_S, abs=60)


def test_a_request_must_name_what_was_asked_for_and_nothing_else(authority: Authority) -> None:
    more = lib.SubjectAlternativeName(
        [
            lib.UniformResourceIdentifier(PI.uri),
            lib.DNSName(PI.server_name),
            lib.DNSName("bank.example"),
        ]
    )
    key = x509.new_key()[0]
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding

    def made(names: lib.SubjectAlternativeName, signing_key: object = key) -> str:
        builder = lib.CertificateSigningRequestBuilder().subject_name(lib.Name([]))
        signed = builder.add_extension(names, critical=True).sign(signing_key, hashes.SHA256())  # type: ignore[arg-type]
        return signed.public_bytes(Encoding.PEM).decode()

    large = rsa.generate_private_key(65537, 2048)
    refused = {
        "it is to name spiffe://lab/device/pi and nothing else": made(more),
        "nothing else": request(EVE),
        "no request": "nonsense",
        "no request for": "\ud800",
        "longer than": "x" * 20_000,
        "P-256": made(x509._names(PI), large),
    }
    for sentence, pem in refused.items():
        with pytest.raises(InvalidInputError, match=sentence):
            authority.sign(pem, PI)
    other = dataclasses.replace(PI, fleet="other")
    pem = request(other)
    with pytest.raises(InvalidInputError, match="of another fleet"):
        authority.sign(pem, other)
    assert authority.ledger().issued == ()


def test_a_revoked_key_gets_no_certificate_again(authority: Authority) -> None:
    pem = request(PI)
    authority.sign(pem, PI)
    trust = from_json(authority.revoke(PI.uri).payload, TrustList)
    assert (trust.number, [r.uri for r in trust.revoked]) == (2, [PI.uri])
    with pytest.raises(InvalidInputError, match="key is revoked"):
        authority.sign(pem, PI)
    with pytest.raises(StateError, match="revoked already"):
        authority.revoke(PI.uri)
    with pytest.raises(NotFoundError, match="nothing was issued"):
        authority.revoke(EVE.uri)
    authority.sign(request(PI), PI)


def test_files_are_for_their_owner_alone(authority: Authority, tmp_path: Path) -> None:
    files = HolderFiles(directory=tmp_path / "eve")
    authority.issue_holder(EVE, files)
    for directory in (authority.directory, files.directory):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in directory.iterdir()} == {0o600}
    with pytest.raises(InvalidInputError, match="makes its own key"):
        authority.issue_holder(PI, files)


def test_a_cut_between_ledger_and_list_leaves_the_newer_list(authority: Authority) -> None:
    old = (authority.directory / "trust.json").read_bytes()
    authority.sign(request(PI), PI)
    authority.revoke(PI.uri)
    (authority.directory / "trust.json").write_bytes(old)
    assert from_json(Authority(authority.directory).trust().payload, TrustList).number == 2
    (authority.directory / "trust.json").unlink()
    assert from_json(Authority(authority.directory).trust().payload, TrustList).number == 2


def test_one_fleet_to_a_directory(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExistsError, match="of fleet lab already"):
        Authority.create(authority.directory, "second")
    with pytest.raises(NotFoundError, match="edgeloop ca init"):
        Authority(tmp_path / "none")
    (authority.directory / "ledger.json").write_text("{")
    with pytest.raises(CorruptDataError, match="damaged"):
        Authority(authority.directory)


def test_a_passphrase_locks_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELOOP_CA_PASSPHRASE", "correct horse")
    authority = Authority.create(tmp_path / "locked", "lab")
    assert b"ENCRYPTED" in (authority.directory / "root-1.key").read_bytes()
    authority.sign(request(PI), PI)
    for wrong in ("", "other"):
        monkeypatch.setenv("EDGELOOP_CA_PASSPHRASE", wrong)
        with pytest.raises(UnauthenticatedError, match="EDGELOOP_CA_PASSPHRASE"):
            authority.sign(request(PI), PI)
    # Without its key an authority still tells whom it trusts.
    assert from_json(authority.trust().payload, TrustList).number == 1


def test_a_rollover_keeps_two_roots_trusted_until_nobody_needs_the_old_one(authority: Authority) -> None:
    first = authority.fingerprint
    authority.sign(request(PI), PI)
    for step, sentence in ((authority.switch_rollover, "begin"), (authority.finish_rollover, "Begin and")):
        with pytest.raises(StateError, match=sentence):
            step()
    authority.begin_rollover()
    with pytest.raises(StateError, match="under way"):
        authority.begin_rollover()
    assert authority.fingerprint == first
    authority.switch_rollover()
    second = authority.fingerprint
    assert second != first
    with pytest.raises(StateError, match=r"spiffe://lab/device/pi still use.*ca renew"):
        authority.finish_rollover()
    authority.sign(request(PI), PI)
    trust = from_json(authority.finish_rollover().payload, TrustList)
    assert [read_certificate(root).public_key for root in trust.roots] == [second]


def test_the_name_of_any_machine_is_a_name_in_a_fleet() -> None:
    Identity(fleet="lab", role=Role.CONTROLLER, name=host_label())
