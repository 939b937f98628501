"""The fleet's authority in its directory: keys of mode 0600, one ledger that is replaced whole, one writer."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import (
    AlreadyExistsError,
    BusyError,
    CorruptDataError,
    InvalidInputError,
    NotFoundError,
)
from edgeloop_foundation.locks import try_lock
from edgeloop_foundation.ports.fs import OsFileSystem, make_durable_directory, write_durably
from edgeloop_protocol.certificate import read_certificate
from edgeloop_protocol.convert.json import from_json, to_canonical_json
from edgeloop_protocol.types.identity import Enrolment, Identity, Role, SignedTrust, TrustList

from edgeloop.domain.identity import HolderFiles
from edgeloop.identity import x509
from edgeloop.identity.ledger import Issued, Ledger, Root

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["AUTHORITY_DIRECTORY", "Authority", "host_label"]

AUTHORITY_DIRECTORY = "authority"
"""Name of the directory below the controller's home."""

_LEDGER = "ledger.json"
_TRUST = "trust.json"
_LOCK_S = 10.0


class Authority:
    """Signs for one fleet. Every change is durable before it is used."""

    def __init__(self, directory: Path, *, wall_s: Callable[[], float] = time.time) -> None:
        """Open an authority.

        Args:
            directory: its own.
            wall_s: the clock.

        Raises:
            NotFoundError: there is none.
            CorruptDataError: its ledger is damaged.
        """
        #: Its directory; other files of the authority stand there too.
        self.directory = directory
        self._wall_s = wall_s
        self._fs = OsFileSystem()
        self.ledger()

    @classmethod
    def create(
        cls,
        directory: Path,
        fleet: str,
        *,
        wall_s: Callable[[], float] = time.time,
    ) -> Authority:
        """Make an authority for a new fleet; EDGELOOP_CA_PASSPHRASE, if set, locks its key.

        Raises:
            AlreadyExistsError: there is one.
            InvalidInputError: the fleet's name is not possible.
        """
        Identity(fleet=fleet, role=Role.CONTROLLER, name="any")
        if (directory / _LEDGER).exists():
            known = cls(directory).ledger().fleet
            raise AlreadyExistsError(
                f"{directory} is the authority of fleet {known} already.",
                next_step="Choose another --home for another fleet.",
            )
        fs = OsFileSystem()
        make_durable_directory(fs, directory)
        directory.chmod(0o700)
        key, pem = x509.new_key(_passphrase())
        root = x509.Signing.create(fleet, 1, key, wall_s())
        write_durably(fs, directory / "root-1.key", pem)
        first = Root(number=1, certificate=root.certificate_pem, trusted=True)
        write_durably(
            fs,
            directory / _LEDGER,
            to_canonical_json(Ledger(fleet=fleet, active=1, number=1, roots=(first,))),
        )
        fs.sync_directory(directory.parent)
        made = cls(directory, wall_s=wall_s)
        with made._changing():
            made._sign_trust(made.ledger())
        return made

    def ledger(self) -> Ledger:
        """Read what the authority knows.

        Raises:
            NotFoundError: there is no authority here.
            CorruptDataError: it is damaged.
        """
        path = self.directory / _LEDGER
        try:
            return from_json(path.read_bytes(), Ledger)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"there is no authority in {self.directory}.", next_step="Make one: edgeloop ca init."
            ) from error
        except InvalidInputError as error:
            raise CorruptDataError(f"{path} is damaged: {error}", next_step="Restore a backup.") from error

    def trust(self) -> SignedTrust:
        """Return the newest trust list, signed."""
        path = self.directory / _TRUST
        ledger = self.ledger()
        with contextlib.suppress(FileNotFoundError, InvalidInputError):
            signed = from_json(path.read_bytes(), SignedTrust)
            if from_json(signed.payload, TrustList).number == ledger.number:
                return signed
        # The ledger is what counts; a cut between the two writes leaves it ahead of the list.
        with self._changing():
            return self._sign_trust(self.ledger())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key of the root that signs, in hexadecimal."""
        ledger = self.ledger()
        return read_certificate(_root(ledger, ledger.active).certificate).public_key

    def sign(self, request_pem: str, identity: Identity) -> Enrolment:
        """Sign a request that names exactly this identity and enter it into the ledger.

        Raises:
            InvalidInputError: it is of another fleet, or the request names something else.
        """
        key = x509.check_request(request_pem, identity)
        return self._issue(identity, key)

    def _issue(self, identity: Identity, key: ec.EllipticCurvePublicKey) -> Enrolment:
        with self._changing():
            ledger = self.ledger()
            if identity.fleet != ledger.fleet:
                raise InvalidInputError(
                    f"{identity.uri} is of another fleet; this authority is of {ledger.fleet}."
                )
            digest = x509.public_key_digest(key)
            if any(revoked.public_key == digest for revoked in ledger.revoked):
                raise InvalidInputError("the request's key is revoked.", next_step="Make a new key.")
            now_s = self._wall_s()
            chain = self._signing(ledger, ledger.active).issue(identity, key, now_s)
            issued = Issued(
                uri=identity.uri,
                public_key=digest,
                issued_s=now_s,
                not_after_s=read_certificate(chain).not_after_s,
                root=ledger.active,
            )
            self._write(ledger.with_issued(issued))
        return Enrolment(chain=chain, trust=self.trust())

    def issue_holder(self, identity: Identity, files: HolderFiles) -> None:
        """Make a key and a certificate for a controller or an observer and write its directory.

        Raises:
            InvalidInputError: it is a device, which makes its own key, or of another fleet.
        """
        if identity.role is Role.DEVICE:
            raise InvalidInputError(
                "a device makes its own key.", next_step="Enrol it: edgeloop device enrol NAME."
            )
        key, pem = x509.new_key()
        enrolment = self._issue(identity, key.public_key())
        make_durable_directory(self._fs, files.directory)
        files.directory.chmod(0o700)
        self.write_trust(files)
        write_durably(self._fs, files.identity, pem + enrolment.chain.encode())

    def write_trust(self, files: HolderFiles) -> None:
        """Bring the trust list and the roots in a holder's directory up to date."""
        signed = self.trust()
        write_durably(self._fs, files.trust, to_canonical_json(signed))
        roots = "".join(root.certificate for root in self.ledger().roots if root.trusted)
        write_durably(self._fs, files.roots, roots.encode())

    def revoke(self, uri: str) -> SignedTrust:
        """Revoke every key that was certified for a name and return the new trust list.

        Raises:
            NotFoundError: nothing was issued to it.
            StateError: it is revoked already.
        """
        return self._change(lambda ledger: ledger.with_revoked(uri, self._wall_s()))

    def begin_rollover(self) -> SignedTrust:
        """Make a new root, trusted besides the present one.

        Raises:
            StateError: a rollover is under way.
        """
        with self._changing():
            ledger = self.ledger()
            number = ledger.roots[-1].number + 1
            key, pem = x509.new_key(_passphrase())
            root = x509.Signing.create(ledger.fleet, number, key, self._wall_s())
            after = ledger.with_root(root.certificate_pem)
            write_durably(self._fs, self.directory / f"root-{number}.key", pem)
            self._write(after)
            return self._sign_trust(after)

    def switch_rollover(self) -> SignedTrust:
        """Sign with the new root from now on.

        Raises:
            StateError: no rollover is under way.
        """
        return self._change(Ledger.switched)

    def finish_rollover(self) -> SignedTrust:
        """Trust the new root alone.

        Raises:
            StateError: there is none, or certificates of the old one are in use.
        """
        return self._change(lambda ledger: ledger.finished(self._wall_s()))

    def _change(self, rule: Callable[[Ledger], Ledger]) -> SignedTrust:
        with self._changing():
            after = rule(self.ledger())
            self._write(after)
            return self._sign_trust(after)

    def _write(self, ledger: Ledger) -> None:
        write_durably(self._fs, self.directory / _LEDGER, to_canonical_json(ledger))

    def _sign_trust(self, ledger: Ledger) -> SignedTrust:
        """Sign the trust list with every key at hand: a device that missed a step knows one of them."""
        payload = to_canonical_json(ledger.trust_list(self._wall_s())).decode()
        keys = [root.number for root in ledger.roots if self._key_path(root.number).exists()]
        signatures = tuple(self._signing(ledger, number).signature(payload) for number in keys)
        signed = SignedTrust(payload=payload, signatures=signatures)
        write_durably(self._fs, self.directory / _TRUST, to_canonical_json(signed))
        return signed

    def _key_path(self, number: int) -> Path:
        return self.directory / f"root-{number}.key"

    def _signing(self, ledger: Ledger, number: int) -> x509.Signing:
        path = self._key_path(number)
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise NotFoundError(
                f"the authority's key {path} cannot be read: {error.strerror}.",
                next_step="Sign on the machine that keeps it.",
            ) from error
        return x509.Signing(_root(ledger, number).certificate, x509.load_key(pem, _passphrase()))

    def signing(self) -> x509.Signing:
        """Return the root that signs, for the certificate of a listener of this controller."""
        ledger = self.ledger()
        return self._signing(ledger, ledger.active)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Keep other processes from changing the ledger meanwhile."""
        descriptor = os.open(
            self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            give_up_s = time.monotonic() + _LOCK_S
            while not try_lock(descriptor):
                if time.monotonic() > give_up_s:
                    raise BusyError(f"another process changes {self.directory}.")
                time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def _root(ledger: Ledger, number: int) -> Root:
    return next(root for root in ledger.roots if root.number == number)


def _passphrase() -> str:
    return os.environ.get("EDGELOOP_CA_PASSPHRASE", "")


def host_label() -> str:
    """Return this machine's name as a name in a fleet."""
    text = "".join(c if c.isascii() and c.isalnum() else "-" for c in socket.gethostname().lower())
    return text.strip("-")[:63].strip("-") or "controller"
