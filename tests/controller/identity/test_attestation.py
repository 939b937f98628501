"""Parity certificates: one that holds, and every way in which one does not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from edgeloop.identity.attestation import Trusted, verify_certificate
from edgeloop.identity.authority import Authority
from edgeloop_agent.enrol.steps import Steps
from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, StateError, UnauthenticatedError
from edgeloop_protocol.certificate import read_certificate
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.envelope import Envelope, read_statement, signed_bytes, statement_text
from edgeloop_protocol.types.attestation import ParityStatement
from edgeloop_protocol.types.facts import OperatingSystem, RuntimeFacts
from edgeloop_protocol.types.identity import DAY_S, Identity, Role, TrustList
from edgeloop_protocol.types.run import Comparison, Isolation, OutputParity, Parity, Verdict

NOW_S = 1_800_000_000.0


def comparison(
    verdict: Verdict = Verdict.PASSED, *, within: bool = True, against: str = "host"
) -> Comparison:
    output = OutputParity(
        name="y", max_absolute_error=0.0, max_relative_error=0.0, within_tolerance=within, digest="d" * 64
    )
    return Comparison(against=against, tolerance_class="fp32", outputs=(output,), verdict=verdict)


@dataclass(frozen=True)
class Device:
    """An enrolled device: its signature is made by the agent's own program."""

    authority: Authority
    name: str
    state: Path
    chain: str

    @property
    def uri(self) -> str:
        return f"spiffe://lab/device/{self.name}"

    def statement(self, **changes: Any) -> ParityStatement:
        plain = ParityStatement(
            deployment="demo",
            artifact_digest="a" * 64,
            counter=3,
            identity=self.uri,
            device_id=f"id-{self.name}",
            device_name=self.name,
            operating_system=OperatingSystem(name="linux", kernel="6", python_version="3.11"),
            runtime=RuntimeFacts(name="onnxruntime", version="1.23"),
            isolation=Isolation(tier="process"),
            parity=Parity(golden_digest="b" * 64, item_count=8, comparisons=(comparison(),)),
            latency_s=0.001,
            issued_s=NOW_S,
            expires_s=NOW_S + DAY_S,
        )
        return replace(plain, **changes)

    def envelope(self, statement: ParityStatement | str) -> Envelope:
        text = statement if isinstance(statement, str) else statement_text(statement)
        return Envelope(
            payload=text.encode(),
            key_id=read_certificate(self.chain).public_key,
            signature=bytes.fromhex(Steps(self.state).sign_statement(text)),
            chain=self.chain,
        )


def enrolled(authority: Authority, name: str, root: Path) -> Device:
    identity, state = Identity(fleet="lab", role=Role.DEVICE, name=name), root / name
    steps = Steps(state)
    enrolment = authority.sign(steps.request(identity), identity)
    steps.enrol(identity, enrolment)
    return Device(authority, name, state, enrolment.chain)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attestation")


@pytest.fixture(scope="module")
def pi(root: Path) -> Device:
    Authority.create(root / "authority", "lab")
    authority = Authority(root / "authority", wall_s=lambda: NOW_S)
    return enrolled(authority, "pi", root)


@pytest.fixture(scope="module")
def other(pi: Device, root: Path) -> Device:
    return enrolled(pi.authority, "other", root)


@pytest.fixture(scope="module")
def stranger(root: Path) -> Device:
    """A device of the same name in another fleet of the same name."""
    Authority.create(root / "rogue", "lab")
    return enrolled(Authority(root / "rogue", wall_s=lambda: NOW_S), "pi", root / "strange")


def trusted(device: Device) -> Trusted:
    trust = from_json(device.authority.trust().payload, TrustList)
    return Trusted(roots=trust.roots, revoked=tuple(one.public_key for one in trust.revoked))


def test_what_the_agent_signs_holds_and_says_everything(pi: Device) -> None:
    statement = pi.statement()
    text = pi.envelope(statement).to_text()
    assert verify_certificate(text, trusted(pi), NOW_S + 60) == statement
    tree = json.loads(text)
    assert tree["payloadType"] == "application/vnd.in-toto+json"
    stated = json.loads(base64.b64decode(tree["payload"]))
    assert stated["_type"] == "https://in-toto.io/Statement/v1"
    assert stated["subject"] == [{"name": "demo", "digest": {"sha256": "a" * 64}}]
    assert stated["predicate"]["parity"]["comparisons"][0]["outputs"][0]["digest"] == "d" * 64


def test_the_signature_is_over_type_and_length_too() -> None:
    """The encoding of DSSE's specification, protocol.md."""
    assert signed_bytes(b"{}") == b"DSSEv1 28 application/vnd.in-toto+json 2 {}"


def test_every_changed_character_of_the_payload_is_refused(pi: Device) -> None:
    envelope = pi.envelope(pi.statement())
    for at in range(0, len(envelope.payload), 7):
        changed = bytearray(envelope.payload)
        changed[at] ^= 1
        with pytest.raises(UnauthenticatedError, match="changed after it was signed"):
            verify_certificate(replace(envelope, payload=bytes(changed)).to_text(), trusted(pi), NOW_S)


Make = Callable[[Device, Device, Device], Envelope]

REFUSED: dict[str, tuple[Make, type[EdgeloopError], str]] = {
    "signature changed": (
        lambda pi, other, stranger: replace(
            pi.envelope(pi.statement()), signature=pi.envelope(pi.statement(counter=4)).signature
        ),
        UnauthenticatedError,
        "changed after",
    ),
    "signature empty": (
        lambda pi, other, stranger: replace(pi.envelope(pi.statement()), signature=b""),
        UnauthenticatedError,
        "changed after",
    ),
    "payload of another certificate": (
        lambda pi, other, stranger: replace(
            pi.envelope(pi.statement()), payload=other.envelope(other.statement()).payload
        ),
        UnauthenticatedError,
        "changed after",
    ),
    "another device signs for this one": (
        lambda pi, other, stranger: other.envelope(pi.statement()),
        UnauthenticatedError,
        "speaks for spiffe://lab/device/pi, and spiffe://lab/device/other signed",
    ),
    "another device's key behind this one's certificate": (
        lambda pi, other, stranger: replace(other.envelope(pi.statement()), chain=pi.chain),
        UnauthenticatedError,
        "changed after",
    ),
    "authority of the same name": (
        lambda pi, other, stranger: stranger.envelope(pi.statement()),
        UnauthenticatedError,
        "no authority that is trusted",
    ),
    "no certificate": (
        lambda pi, other, stranger: replace(pi.envelope(pi.statement()), chain=""),
        InvalidInputError,
        "brings no certificate",
    ),
    "expired": (
        lambda pi, other, stranger: pi.envelope(
            pi.statement(issued_s=NOW_S - 2 * DAY_S, expires_s=NOW_S - DAY_S)
        ),
        StateError,
        "run out",
    ),
    "expires now": (
        lambda pi, other, stranger: pi.envelope(pi.statement(issued_s=NOW_S - DAY_S, expires_s=NOW_S)),
        StateError,
        "run out",
    ),
    "from the future": (
        lambda pi, other, stranger: pi.envelope(
            pi.statement(issued_s=NOW_S + DAY_S, expires_s=NOW_S + 2 * DAY_S)
        ),
        StateError,
        "from the future",
    ),
    "outlives the device's certificate": (
        lambda pi, other, stranger: pi.envelope(pi.statement(expires_s=NOW_S + 31 * DAY_S)),
        UnauthenticatedError,
        "outside the life",
    ),
    "before the device's certificate": (
        lambda pi, other, stranger: pi.envelope(pi.statement(issued_s=NOW_S - 8 * DAY_S)),
        UnauthenticatedError,
        "outside the life",
    ),
    "parity failed": (
        lambda pi, other, stranger: pi.envelope(stating(pi, comparison(Verdict.FAILED, within=False))),
        StateError,
        "does not state that parity holds",
    ),
    "parity undecided": (
        lambda pi, other, stranger: pi.envelope(stating(pi, comparison(Verdict.UNDECIDED))),
        StateError,
        "does not state that parity holds",
    ),
    "no comparison": (
        lambda pi, other, stranger: pi.envelope(stating(pi)),
        StateError,
        "does not state that parity holds",
    ),
    "only against the original": (
        lambda pi, other, stranger: pi.envelope(stating(pi, comparison(against="original"))),
        StateError,
        "does not state that parity holds",
    ),
    "one of two failed": (
        lambda pi, other, stranger: pi.envelope(
            stating(pi, comparison(), comparison(Verdict.FAILED, against="original"))
        ),
        StateError,
        "does not state that parity holds",
    ),
    "an output contradicts the verdict": (
        lambda pi, other, stranger: pi.envelope(stating(pi, comparison(within=False))),
        StateError,
        "output y contradicts",
    ),
    "subject is another artifact": (
        lambda pi, other, stranger: pi.envelope(
            statement_text(pi.statement()).replace('{"sha256":"' + "a" * 64, '{"sha256":"' + "c" * 64)
        ),
        InvalidInputError,
        "another artifact than it says",
    ),
    "another kind of statement": (
        lambda pi, other, stranger: pi.envelope(
            statement_text(pi.statement()).replace("urn:edgeloop:parity:v1", "https://slsa.dev/provenance/v1")
        ),
        InvalidInputError,
        "slsa.dev",
    ),
    "no statement": (
        lambda pi, other, stranger: pi.envelope("[]"),
        InvalidInputError,
        "no in-toto statement",
    ),
}


def stating(device: Device, *comparisons: Comparison) -> ParityStatement:
    return device.statement(parity=Parity(golden_digest="b" * 64, item_count=8, comparisons=comparisons))


@pytest.mark.parametrize("case", list(REFUSED))
def test_it_is_refused(case: str, pi: Device, other: Device, stranger: Device) -> None:
    make, kind, sentence = REFUSED[case]
    with pytest.raises(kind, match=sentence):
        verify_certificate(make(pi, other, stranger).to_text(), trusted(pi), NOW_S)


def test_a_certificate_of_a_controller_signs_nothing_for_a_device(pi: Device, root: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    desk = Identity(fleet="lab", role=Role.CONTROLLER, name="desk")
    chain = pi.authority.signing().issue(desk, key.public_key(), NOW_S)
    for identity in (desk.uri, pi.uri):
        payload = statement_text(pi.statement(identity=identity)).encode()
        signature = key.sign(signed_bytes(payload), ec.ECDSA(hashes.SHA256()))
        forged = Envelope(payload=payload, key_id="", signature=signature, chain=chain)
        with pytest.raises(UnauthenticatedError, match="speaks for"):
            verify_certificate(forged.to_text(), trusted(pi), NOW_S)


def test_a_revoked_key_no_longer_counts(other: Device) -> None:
    text = other.envelope(other.statement()).to_text()
    assert verify_certificate(text, trusted(other), NOW_S).device_name == "other"
    revoked = replace(trusted(other), revoked=(read_certificate(other.chain).public_key.upper(),))
    with pytest.raises(UnauthenticatedError, match="revoked"):
        verify_certificate(text, revoked, NOW_S)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"payloadType": "text/plain", "payload": "", "signatures": [{}]}',
        "x" * (1 << 21),
    ],
    ids=["empty", "object", "list", "null", "other type", "too long"],
)
def test_what_is_no_envelope_is_refused(text: str, pi: Device) -> None:
    with pytest.raises(InvalidInputError):
        verify_certificate(text, trusted(pi), NOW_S)


def test_two_signatures_are_refused(pi: Device) -> None:
    tree = json.loads(pi.envelope(pi.statement()).to_text())
    tree["signatures"] *= 2
    with pytest.raises(InvalidInputError, match="one signature"):
        verify_certificate(json.dumps(tree), trusted(pi), NOW_S)


def test_a_statement_is_read_as_it_was_written(pi: Device) -> None:
    statement = pi.statement(memory_bytes=7)
    assert read_statement(statement_text(statement)) == statement
