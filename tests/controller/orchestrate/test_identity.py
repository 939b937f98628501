"""Enrolment, upkeep and rollover with a running agent of this machine, and what the connection says when it fails."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.identity import HolderFiles
from edgeloop.identity.authority import Authority
from edgeloop.orchestrate.enrol import enrol_here, join_offer, run_here
from edgeloop.orchestrate.identity import (
    authority_of,
    enrol_through,
    found_fleet,
    keep_device,
    keep_own,
    keep_own_quietly,
)
from edgeloop.transport.base import connect
from edgeloop_foundation.errors import (
    AccessDeniedError,
    InvalidInputError,
    NotFoundError,
    StateError,
    UnauthenticatedError,
)
from edgeloop_protocol.certificate import certificates_in, read_certificate
from edgeloop_protocol.types.identity import DAY_S, Identity, Role

PI = Identity(fleet="lab", role=Role.DEVICE, name="pi")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    home: Path
    address: str

    @property
    def authority(self) -> Authority:
        return authority_of(self.home)

    def spec(self, name: str = "pi", **options: str) -> DeviceSpec:
        pairs = tuple(sorted(options.items()))
        return DeviceSpec(name=name, transport="grpc", address=self.address, options=pairs)

    def own_key(self) -> str:
        return read_certificate(certificates_in(own(self.home).identity.read_text())[0]).public_key


def own(home: Path) -> HolderFiles:
    return HolderFiles(directory=home / "identity")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root = tmp_path_factory.mktemp("fleet")
    home, state = root / "home", root / "state"
    found_fleet(home, "lab", "desk")
    enrol_here(home, "pi", state)
    command = [sys.executable, "-m", "edgeloop_agent", "serve", "--simulate", "raspberry_pi_5"]
    command += ["--state", str(state), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        yield Fleet(home=home, address=process.stdout.readline().decode().split()[1])
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


async def test_an_enrolled_device_is_reached_by_its_name_and_kept_up_to_date(fleet: Fleet) -> None:
    async with connect(fleet.spec(), fleet.home) as client:
        before = await client.identity_status()
        assert (before.uri, before.clock_trusted) == (PI.uri, True)
        idle = await keep_device(client, fleet.spec(), fleet.home)
        assert idle is not None
        assert (idle.renewed, idle.updated) == (False, False)
        forced = await keep_device(client, fleet.spec(), fleet.home, force=True)
        assert forced is not None
        assert forced.renewed
        assert forced.status is not None
        assert forced.status.public_key != before.public_key
    async with connect(fleet.spec("elsewhere", enrolled_as="pi"), fleet.home) as client:
        assert (await client.identity_status()).public_key == forced.status.public_key


async def test_who_answers_under_another_name_is_refused(fleet: Fleet) -> None:
    with pytest.raises(
        UnauthenticatedError, match=r"nano: its certificate is for another name.*Another device"
    ):
        await connect(fleet.spec("nano"), fleet.home).open()
    with pytest.raises(InvalidInputError, match=r"not the name under which.*--on NAME=grpc"):
        await connect(fleet.spec("10.0.0.1:7000"), fleet.home).open()
    with pytest.raises(InvalidInputError, match="no identity in"):
        await connect(fleet.spec(identity="/nonexistent/x"), fleet.home).open()


async def test_an_observer_sees_and_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    files = HolderFiles(directory=tmp_path / "eve")
    fleet.authority.issue_holder(Identity(fleet="lab", role=Role.OBSERVER, name="eve"), files)
    async with connect(fleet.spec(identity=str(files.directory)), tmp_path) as client:
        assert (await client.describe()).simulated
        with pytest.raises(AccessDeniedError, match=r"pi: spiffe://lab/observer/eve may not call"):
            await client.request_certificate()


async def test_a_revoked_controller_is_told_so_and_does_not_try_again(fleet: Fleet, tmp_path: Path) -> None:
    files = HolderFiles(directory=tmp_path / "lost")
    lost = Identity(fleet="lab", role=Role.CONTROLLER, name="lost")
    fleet.authority.issue_holder(lost, files)
    async with connect(fleet.spec(identity=str(files.directory)), tmp_path) as live:
        await live.identity_status()
        fleet.authority.revoke(lost.uri)
        assert not keep_own(fleet.home)
        async with connect(fleet.spec(), fleet.home) as client:
            kept = await keep_device(client, fleet.spec(), fleet.home)
            assert kept is not None
            assert kept.updated
        began = time.monotonic()
        with pytest.raises(UnauthenticatedError, match="the key of spiffe://lab/controller/lost is revoked"):
            await live.describe()
        assert time.monotonic() - began < 5.0
    with pytest.raises(UnauthenticatedError, match="is revoked"):
        await connect(fleet.spec(identity=str(files.directory)), tmp_path).open()


async def test_a_rollover_goes_through_without_a_restart(fleet: Fleet) -> None:
    async def tell(*, force: bool = False) -> None:
        keep_own(fleet.home, force=force)
        async with connect(fleet.spec(), fleet.home) as client:
            assert await keep_device(client, fleet.spec(), fleet.home, force=force) is not None

    before = fleet.own_key()
    fleet.authority.begin_rollover()
    await tell()
    fleet.authority.switch_rollover()
    await tell(force=True)
    assert fleet.own_key() != before
    # Whoever is neither renewed nor revoked would keep the old root in use.
    if any(issued.uri.endswith("/observer/eve") for issued in fleet.authority.ledger().issued):
        fleet.authority.revoke("spiffe://lab/observer/eve")
    fleet.authority.finish_rollover()
    await tell()
    await tell()
    assert own(fleet.home).roots.read_text().count("BEGIN") == 1


async def test_a_revoked_device_is_refused_by_the_controller(fleet: Fleet) -> None:
    fleet.authority.revoke(PI.uri)
    keep_own(fleet.home)
    with pytest.raises(UnauthenticatedError, match=r"pi: its key is revoked.*enrol it anew"):
        await connect(fleet.spec(), fleet.home).open()


def test_the_controllers_own_certificate_is_renewed_at_two_thirds_of_its_life(tmp_path: Path) -> None:
    found_fleet(tmp_path, "lab", "desk")
    before = own(tmp_path).identity.read_bytes()
    assert not keep_own(tmp_path, now_s=time.time() + 19 * DAY_S)
    assert own(tmp_path).identity.read_bytes() == before
    assert keep_own(tmp_path, now_s=time.time() + 21 * DAY_S)
    assert own(tmp_path).identity.read_bytes() != before
    assert not keep_own(tmp_path / "none")


def test_a_controller_that_cannot_be_renewed_goes_on_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found_fleet(tmp_path, "lab", "desk")
    (tmp_path / "identity" / "identity.pem").write_text("nothing")
    keep_own_quietly(tmp_path)
    assert "is not up to date" in caplog.text
    assert "identity.pem holds no certificate of the fleet" in caplog.text


def test_a_request_crosses_the_channel_and_no_key_does(tmp_path: Path) -> None:
    found_fleet(tmp_path, "lab", "desk")
    crossed: list[bytes] = []

    def over_there(argv: Sequence[str], standard_input: bytes) -> bytes:
        crossed.append(standard_input)
        crossed.append(run_here(argv, standard_input))
        return crossed[-1]

    agent = (sys.executable, "-m", "edgeloop_agent")
    enrol_through(over_there, authority_of(tmp_path), PI, str(tmp_path / "state"), agent)
    assert b"BEGIN CERTIFICATE REQUEST" in crossed[1]
    assert not any(b"PRIVATE" in data for data in crossed)
    for answer in (b"\xff", b"not a request"):
        with pytest.raises(InvalidInputError, match="request"):
            enrol_through(lambda argv, data, said=answer: said, authority_of(tmp_path), PI, "s")  # type: ignore[misc]


def test_what_the_device_refuses_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="edgeloop ca init"):
        enrol_here(tmp_path, "pi", tmp_path / "state")
    found_fleet(tmp_path, "lab", "desk")
    enrol_here(tmp_path, "pi", tmp_path / "state")
    with pytest.raises(
        StateError, match="enrolled as spiffe://lab/device/pi, not as spiffe://lab/device/nano"
    ):
        enrol_here(tmp_path, "nano", tmp_path / "state")
    with pytest.raises(StateError, match="cannot be run"):
        run_here([str(tmp_path / "none")], b"")
    for address in ("", "host", ":1", "host:x"):
        with pytest.raises(InvalidInputError, match="HOST:PORT"), join_offer(tmp_path, "pi", address):
            pass
