"""What a device takes, and what it refuses without changing anything."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
from edgeloop.identity import x509
from edgeloop.identity.authority import Authority
from edgeloop_agent.enrol.steps import Steps
from edgeloop_agent.identity_files import IdentityFiles
from edgeloop_foundation.errors import (
    AlreadyExistsError,
    EdgeloopError,
    InvalidInputError,
    NotFoundError,
    StateError,
)
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.identity import DAY_S, Identity, Role

from tests.device_agent.enrol.conftest import DEVICE


def files(root: Path) -> IdentityFiles:
    return IdentityFiles(OsFileSystem(), root / "state" / "identity")


def test_a_device_is_enrolled_with_a_key_that_only_it_has(
    authority: Authority, enrolled: Steps, tmp_path: Path
) -> None:
    known = files(tmp_path).credentials()
    assert known.identity == DEVICE
    assert known.trust.fleet == "lab"
    (issued,) = authority.ledger().issued
    assert issued.public_key == known.certificate.public_key
    for path in (files(tmp_path).identity, files(tmp_path).trust):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not files(tmp_path).pending.exists()
    secret = known.key.splitlines()[1]
    elsewhere = (p for p in (tmp_path / "authority").rglob("*") if p.is_file())
    assert all(secret not in p.read_text() for p in elsewhere)


def test_a_renewal_is_another_key(authority: Authority, enrolled: Steps, tmp_path: Path) -> None:
    before = files(tmp_path).credentials()
    request = enrolled.renew()
    assert files(tmp_path).credentials() == before
    enrolled.install(authority.sign(request, DEVICE).chain)
    after = files(tmp_path).credentials()
    assert after.certificate.public_key != before.certificate.public_key
    assert after.key != before.key
    with pytest.raises(NotFoundError, match="no key waits"):
        enrolled.install(authority.sign(request, DEVICE).chain)


def test_a_certificate_of_somebody_else_is_refused(
    authority: Authority, enrolled: Steps, tmp_path: Path
) -> None:
    before = files(tmp_path).credentials()
    request = enrolled.renew()
    rogue = Authority.create(tmp_path / "rogue", "lab")
    key = x509.check_request(request, DEVICE)
    signing, now_s = authority.signing(), time.time()
    other = Identity(fleet="lab", role=Role.DEVICE, name="other")
    as_client = dataclasses.replace(DEVICE, role=Role.CONTROLLER)
    chains = {
        "not signed by an authority": rogue.sign(request, DEVICE).chain,
        "for another key": signing.issue(DEVICE, x509.new_key()[0].public_key(), now_s),
        "not that of spiffe://lab/device/pi": signing.issue(other, key, now_s),
        "not that of": signing.issue(as_client, key, now_s),
        "has run out": signing.issue(DEVICE, key, now_s - 40 * DAY_S),
        "no certificate": "",
    }
    for sentence, chain in chains.items():
        with pytest.raises(EdgeloopError, match=sentence):
            enrolled.install(chain)
    assert files(tmp_path).credentials() == before


def test_a_trust_list_only_ever_rises(authority: Authority, enrolled: Steps, tmp_path: Path) -> None:
    first = authority.trust()
    key = x509.new_key()[0]
    eve = Identity(fleet="lab", role=Role.OBSERVER, name="eve")
    authority.sign(x509.request_for(eve, key), eve)
    second = authority.revoke(eve.uri)
    enrolled.update_trust(second)
    enrolled.update_trust(second)
    assert [r.uri for r in files(tmp_path).trust_list().revoked] == [eve.uri]
    with pytest.raises(StateError, match="number 1, this device has 2"):
        enrolled.update_trust(first)
    forged = dataclasses.replace(second, payload=second.payload.replace('"number":2', '"number":9'))
    rogue = Authority.create(tmp_path / "rogue", "lab").trust()
    for refused in (forged, rogue, dataclasses.replace(second, signatures=())):
        with pytest.raises(InvalidInputError, match="not signed"):
            enrolled.update_trust(refused)
    assert files(tmp_path).trust_list().number == 2


def test_a_rollover_reaches_a_device_that_missed_a_step(
    authority: Authority, enrolled: Steps, tmp_path: Path
) -> None:
    authority.begin_rollover()
    authority.switch_rollover()
    request = enrolled.renew()
    with pytest.raises(InvalidInputError, match="not signed by an authority"):
        enrolled.install(authority.sign(request, DEVICE).chain)
    enrolled.update_trust(authority.trust())
    enrolled.install(authority.sign(request, DEVICE).chain)
    enrolled.update_trust(authority.finish_rollover())
    assert len(files(tmp_path).trust_list().roots) == 1


def test_an_enrolled_device_takes_no_other_name_and_no_other_fleet(
    authority: Authority, enrolled: Steps, tmp_path: Path
) -> None:
    other = dataclasses.replace(DEVICE, name="other")
    with pytest.raises(AlreadyExistsError, match="enrolled as spiffe://lab/device/pi"):
        enrolled.request(other)
    strangers = Authority.create(tmp_path / "strangers", "lab")
    answer = strangers.sign(enrolled.request(DEVICE), DEVICE)
    with pytest.raises(InvalidInputError, match="not signed by an authority that this device trusts"):
        enrolled.enrol(DEVICE, answer)


def test_a_board_that_woke_up_in_the_past_is_still_renewed_and_still_refuses_the_past(
    authority: Authority, enrolled: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = enrolled.renew()
    fresh = authority.sign(request, DEVICE).chain
    stale = authority.signing().issue(DEVICE, x509.check_request(request, DEVICE), time.time() - 40 * DAY_S)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(StateError, match="run out"):
        enrolled.install(stale)
    enrolled.install(fresh)
