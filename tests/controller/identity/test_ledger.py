"""The rules of the ledger, without files."""

from __future__ import annotations

from edgeloop.identity.ledger import Issued, Ledger, Root

DAY = 86_400.0


def issued(uri: str, key: str, at_day: float) -> Issued:
    return Issued(
        uri=uri, public_key=key * 64, issued_s=at_day * DAY, not_after_s=(at_day + 30) * DAY, root=1
    )


def ledger() -> Ledger:
    return Ledger(fleet="lab", active=1, number=1, roots=(Root(number=1, certificate="pem", trusted=True),))


def test_what_ran_out_goes_but_the_last_of_a_name_stays() -> None:
    known = ledger()
    for entry in (issued("pi", "a", 0), issued("nano", "b", 0), issued("pi", "c", 20)):
        known = known.with_issued(entry)
    assert [e.public_key[0] for e in known.issued] == ["a", "b", "c"]
    known = known.with_issued(issued("pi", "d", 40))
    assert [e.public_key[0] for e in known.issued] == ["b", "c", "d"]


def test_revocation_takes_every_key_of_a_name_and_forgets_what_ran_out() -> None:
    known = ledger()
    for entry in (issued("pi", "a", 0), issued("pi", "b", 20), issued("nano", "c", 20)):
        known = known.with_issued(entry)
    known = known.with_revoked("pi", 21 * DAY)
    assert known.number == 2
    assert [r.public_key[0] for r in known.revoked] == ["a", "b"]
    known = known.with_revoked("nano", 40 * DAY)
    assert known.number == 3
    assert [r.public_key[0] for r in known.revoked] == ["b", "c"]
