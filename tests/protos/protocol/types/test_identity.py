"""Names in a fleet."""

from __future__ import annotations

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.identity import Identity, Revoked, Role, TrustList
from hypothesis import given
from hypothesis import strategies as st

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(LABEL, st.sampled_from(Role), LABEL)
def test_an_identity_is_what_its_uri_says(fleet: str, role: Role, name: str) -> None:
    identity = Identity(fleet=fleet, role=role, name=name)
    assert Identity.parse(identity.uri) == identity
    assert identity.server_name.split(".")[:3] == [name, role.value, fleet]


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "spiffe://lab/device",
        "spiffe://lab/device/",
        "spiffe://lab/admin/pi",
        "spiffe://lab/device/pi/x",
        "spiffe://lab/device/pi\n",
        "spiffe://lab/device/Pi",
        "spiffe://lab/device/-pi",
        "spiffe://lab/device/p.i",
        "spiffe://lab/device/\x1b[31m",
        f"spiffe://lab/device/{'x' * 64}",
        "SPIFFE://lab/device/pi",
        "lab/device/pi",
        "https://lab/device/pi",
        "spiffe://lab/device/pi" * 10_000,
    ],
)
def test_what_is_no_identity_is_refused_in_a_short_printable_sentence(uri: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        Identity.parse(uri)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()


def test_values_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="SHA-256"):
        Revoked(public_key="0" * 63, uri="x", until_s=0.0)
    with pytest.raises(InvalidInputError, match="at least one authority"):
        TrustList(fleet="lab", number=1, issued_s=0.0, roots=())
    with pytest.raises(InvalidInputError, match="above 0"):
        TrustList(fleet="lab", number=0, issued_s=0.0, roots=("x",))
