"""A running agent over TCP: addresses, mutual TLS, and what is said when that fails."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from edgeloop.domain.device import DeviceSpec
from edgeloop.transport.base import connect
from edgeloop.transport.rpc.channel import TlsFiles
from edgeloop.transport.rpc.preflight import check_tls
from edgeloop_foundation.errors import (
    DeadlineError,
    InvalidInputError,
    UnauthenticatedError,
    UnavailableError,
)


@dataclass
class Authority:
    """A certificate authority that issues files."""

    root: Path
    name: str = "fleet"

    def __post_init__(self) -> None:

        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=True, path_length=0), True)
        ]
        self.ca = self._write(f"{self.name}-ca", self._sign(self.subject, self.key, extensions, (-10, 10)))

    def _sign(self, subject: Any, key: Any, extensions: Any, days: tuple[float, float]) -> Any:

        now = datetime.now(timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, name: str, certificate: Any) -> Path:

        path = self.root / f"{name}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
        return path

    def issue(
        self, name: str, *, client: bool, days: tuple[float, float] = (-1, 1), host: str = "127.0.0.1"
    ) -> tuple[Path, Path]:
        """Return the paths of a certificate and of its key."""

        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        names = x509.SubjectAlternativeName(
            [x509.DNSName("device.test"), x509.IPAddress(ipaddress.ip_address(host))]
        )
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        extensions = [(names, False), (x509.ExtendedKeyUsage([usage]), False)]
        certificate = self._write(f"{self.name}-{name}", self._sign(subject, key, extensions, days))
        path = self.root / f"{self.name}-{name}.key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, path


@pytest.fixture
def make_authority(tmp_path: Path) -> Callable[[str], Authority]:
    return lambda name: Authority(tmp_path, name)


def spec(address: str, **options: str | Path) -> DeviceSpec:
    pairs = tuple(sorted((name, str(value)) for name, value in options.items()))
    return DeviceSpec(name="bench", transport="grpc", address=address, options=pairs)


def tls(port: int, ca: Path, pair: tuple[Path, Path], **more: str) -> DeviceSpec:
    return spec(f"127.0.0.1:{port}", tls_ca=ca, tls_certificate=pair[0], tls_key=pair[1], **more)


async def test_loopback_without_tls(agent: Any, tmp_path: Path) -> None:
    async with connect(spec(f"127.0.0.1:{agent.port}"), tmp_path) as client:
        assert (await client.describe()).name == "bench"


@pytest.mark.parametrize("address", ["", "nonsense", "host:", "host:0", "host:70000", ":50051", "host:5x"])
async def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"bench.*is not an address"):
        await connect(spec(address), tmp_path).open()


async def test_beyond_this_machine_there_is_no_plain_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="needs mutual TLS"):
        await connect(spec("192.0.2.1:50051"), tmp_path).open()


async def test_half_of_the_tls_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="tls_ca without tls_certificate"):
        await connect(spec("127.0.0.1:1", tls_ca="x"), tmp_path).open()


async def test_an_unknown_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidInputError, match="no option 'tls_cert'; known are enrolled_as, identity, tls_ca"
    ):
        connect(spec("127.0.0.1:1", tls_cert="x"), tmp_path)


async def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no socket"):
        await connect(spec(f"unix:{tmp_path}/none.sock"), tmp_path).open()


async def test_a_stale_socket_is_told_in_words(tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with pytest.raises(UnavailableError, match=r"bench cannot be reached.*nothing listens there"):
        await connect(spec(f"unix:{path}"), tmp_path).open()


async def test_mutual_tls_works(make_authority: Any, serve_tls: Any, tmp_path: Path) -> None:
    fleet = make_authority("fleet")
    port = await serve_tls(fleet, *fleet.issue("device", client=False))
    controller = fleet.issue("controller", client=True)
    async with connect(tls(port, fleet.ca, controller), tmp_path) as client:
        assert (await client.describe()).name == "bench"
    by_name = tls(port, fleet.ca, controller, tls_server_name="device.test")
    async with connect(by_name, tmp_path) as client:
        assert client.capabilities


async def refusal(device: DeviceSpec, home: Path) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await connect(device, home).open()
    return str(caught.value)


async def test_each_flaw_of_the_devices_certificate_is_told_apart(
    make_authority: Any, serve_tls: Any, tmp_path: Path
) -> None:
    fleet, other = make_authority("fleet"), make_authority("other")
    ours = fleet.issue("controller", client=True)
    flaws = {
        "has expired": (fleet, {"days": (-3, -1)}, ""),
        "is not valid yet.*clocks": (fleet, {"days": (1, 3)}, ""),
        "was not signed by the authority in tls_ca": (other, {}, ""),
        "is for another name.*tls_server_name": (fleet, {}, "elsewhere.test"),
    }
    for number, (sentence, (authority, how, name)) in enumerate(flaws.items()):
        pair = authority.issue(f"device{number}", client=False, **how)
        port = await serve_tls(fleet, *pair)
        more = {"tls_server_name": name} if name else {}
        assert re.search(
            f"bench: its certificate {sentence}", await refusal(tls(port, fleet.ca, ours, **more), tmp_path)
        )


async def test_each_flaw_of_our_certificate_is_told_apart(
    make_authority: Any, serve_tls: Any, tmp_path: Path
) -> None:
    fleet, other = make_authority("fleet"), make_authority("other")
    port = await serve_tls(fleet, *fleet.issue("device", client=False))
    flaws = {
        "has expired": fleet.issue("old", client=True, days=(-3, -1)),
        "is not valid yet": fleet.issue("early", client=True, days=(1, 3)),
        "was not issued for clients": fleet.issue("server", client=False),
        "authority": other.issue("stranger", client=True),
    }
    for sentence, pair in flaws.items():
        said = await refusal(tls(port, fleet.ca, pair), tmp_path)
        assert said.startswith(f"bench: our certificate {pair[0]} ")
        assert sentence in said


async def test_an_agent_without_tls_is_not_taken_for_a_bad_certificate(
    agent: Any, make_authority: Any, tmp_path: Path
) -> None:
    fleet = make_authority("fleet")
    device = tls(agent.port, fleet.ca, fleet.issue("controller", client=True))
    with pytest.raises(UnavailableError, match="listens with TLS"):
        await connect(device, tmp_path).open()


async def test_nobody_at_the_port(make_authority: Any, tmp_path: Path) -> None:
    fleet = make_authority("fleet")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}: Connection refused"):
        await connect(tls(port, fleet.ca, fleet.issue("c", client=True)), tmp_path).open()


async def test_a_port_that_says_nothing_ends_in_a_deadline(
    make_authority: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeloop.transport.rpc import preflight

    monkeypatch.setattr(preflight, "_CONNECT_S", 0.2)
    fleet = make_authority("fleet")
    with socket.create_server(("127.0.0.1", 0)) as server:
        device = tls(server.getsockname()[1], fleet.ca, fleet.issue("c", client=True))
        with pytest.raises(DeadlineError, match="nobody answers"):
            await asyncio.wait_for(connect(device, tmp_path).open(), 10)


async def test_files_that_are_no_certificates_are_named(make_authority: Any, tmp_path: Path) -> None:
    fleet = make_authority("fleet")
    certificate, key = fleet.issue("controller", client=True)
    (tmp_path / "empty.pem").write_text("nothing")
    wrong = {
        "cannot be read": (tmp_path / "absent.pem", certificate, key),
        "holds no PEM certificate": (tmp_path / "empty.pem", certificate, key),
        "are not a PEM certificate and its key": (fleet.ca, fleet.ca, key),
    }
    for sentence, (ca, cert, secret) in wrong.items():
        with pytest.raises(InvalidInputError, match=sentence):
            await connect(tls(1, ca, (cert, secret)), tmp_path).open()


async def test_a_clock_that_shows_what_has_passed_is_told_before_any_certificate(
    make_authority: Any, serve_tls: Any, tmp_path: Path
) -> None:
    fleet = make_authority("fleet")
    port = await serve_tls(fleet, *fleet.issue("device", client=False, days=(1, 3)))
    certificate, key = fleet.issue("controller", client=True)
    later = datetime.now(timezone.utc).timestamp() + 86_400
    files = TlsFiles(ca=fleet.ca, certificate=certificate, key=key, time_floor_s=later)
    with pytest.raises(UnauthenticatedError, match=r"this machine's clock says .* which has passed"):
        await asyncio.to_thread(check_tls, "bench", "127.0.0.1", port, files)


async def test_a_controller_where_a_device_should_be_is_the_wrong_role(
    make_authority: Any, serve_tls: Any, tmp_path: Path
) -> None:
    fleet = make_authority("fleet")
    ours = fleet.issue("controller", client=True)
    port = await serve_tls(fleet, *fleet.issue("another", client=True))
    assert "was not issued for a device (wrong role)" in await refusal(tls(port, fleet.ca, ours), tmp_path)


async def test_a_sound_certificate_that_the_device_refuses_points_at_its_clock_or_its_authority(
    make_authority: Any, serve_tls: Any, tmp_path: Path
) -> None:
    fleet, stale = make_authority("fleet"), make_authority("stale")
    ours = fleet.issue("controller", client=True)
    # It trusts another authority than ours, and closes without a word.
    port = await serve_tls(stale, *fleet.issue("device", client=False))
    assert "its clock is probably off" in await refusal(tls(port, fleet.ca, ours), tmp_path)
    both = tmp_path / "both.pem"
    both.write_bytes(fleet.ca.read_bytes() + stale.ca.read_bytes())
    port = await serve_tls(stale, *stale.issue("device", client=False))
    said = await refusal(tls(port, both, ours), tmp_path)
    assert "of another authority than the device's own" in said


async def test_attempts_end_when_a_certificate_is_refused_meanwhile(
    make_authority: Any, serve_tls: Any, tmp_path: Path
) -> None:
    fleet = make_authority("fleet")
    pair = fleet.issue("controller", client=True)
    port = await serve_tls(fleet, *fleet.issue("device", client=False))
    transport = connect(tls(port, fleet.ca, pair), tmp_path)
    async with transport as client:
        pair[0].write_bytes(fleet.issue("old", client=True, days=(-3, -1))[0].read_bytes())
        pair[1].write_bytes((tmp_path / "fleet-old.key").read_bytes())

        async def unreachable() -> None:
            raise UnavailableError("gone")

        with pytest.raises(UnauthenticatedError, match=r"our certificate .* has expired"):
            await asyncio.wait_for(client._caller.repeat(unreachable), 5.0)


async def test_a_connection_that_breaks_in_the_handshake_is_no_refusal(
    make_authority: Any, serve_tls: Any, make_cutter: Any, tmp_path: Path
) -> None:
    fleet = make_authority("fleet")
    port = await serve_tls(fleet, *fleet.issue("device", client=False))
    certificate, key = fleet.issue("controller", client=True)
    files = TlsFiles(ca=fleet.ca, certificate=certificate, key=key)
    # Before the first byte, within our hello, and when our certificate is on its way.
    for byte_count in (0, 100, 700):
        cutter = make_cutter(port, [byte_count, byte_count])
        await asyncio.to_thread(check_tls, "bench", "127.0.0.1", cutter.port, files)
        assert cutter.cuts == []
        cutter = make_cutter(port, [byte_count] * 3)
        with pytest.raises((UnauthenticatedError, UnavailableError)):
            await asyncio.to_thread(check_tls, "bench", "127.0.0.1", cutter.port, files)


class Cutter:
    """A relay whose first connections end after so many bytes of the client."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self.to, self.cuts = port, cuts
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.server.getsockname()[1])
        self.ends: list[socket.socket] = [self.server]
        self.threads: list[threading.Thread] = []
        self._start(self._serve)

    def _start(self, work: Callable[..., None], *words: object) -> None:
        self.threads.append(threading.Thread(target=work, args=words))
        self.threads[-1].start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.server.accept()
                left = self.cuts.pop(0) if self.cuts else None
                far = socket.create_connection(("127.0.0.1", self.to))
                self.ends += (near, far)
                self._start(self._pass_on, near, far, left)
                self._start(self._pass_on, far, near, None)

    def close(self) -> None:
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in list(self.threads):
            thread.join()
        for end in self.ends:
            end.close()

    def _pass_on(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        with contextlib.suppress(OSError):
            while left != 0 and (data := source.recv(65536 if left is None else left)):
                sink.sendall(data)
                left = None if left is None else left - len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def make_cutter() -> Iterator[Callable[[int, list[int]], Cutter]]:
    made: list[Cutter] = []

    def make(port: int, cuts: list[int]) -> Cutter:
        made.append(Cutter(port, cuts))
        return made[-1]

    yield make
    for cutter in made:
        cutter.close()
