"""What an authority knows, as values: its roots, what it issued, what it revoked. Rules, no files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from edgeloop_foundation.errors import NotFoundError, StateError
from edgeloop_protocol.types.identity import Revoked, TrustList

__all__ = ["Issued", "Ledger", "Root"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One generation of the authority."""

    #: Rises with every generation; its key is in the file of that number.
    number: int
    #: Its certificate, PEM.
    certificate: str
    #: Whether devices are to trust it.
    trusted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One certificate."""

    #: Whose it is.
    uri: str
    #: SHA-256 of its public key, in hexadecimal.
    public_key: str
    #: When it was signed, in seconds since 1970.
    issued_s: float
    #: When it runs out, in seconds since 1970.
    not_after_s: float
    #: Number of the root that signed it.
    root: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Everything that an authority keeps besides its keys."""

    #: Name of the fleet.
    fleet: str
    #: Number of the root that signs certificates.
    active: int
    #: Number of the trust list; rises with every change of it.
    number: int
    #: Every root, retired ones included.
    roots: tuple[Root, ...]
    #: Certificates that have not run out, and the last one of each name.
    issued: tuple[Issued, ...] = ()
    #: Keys that are refused.
    revoked: tuple[Revoked, ...] = ()

    def trust_list(self, now_s: float) -> TrustList:
        """Return the trust list as it is to be signed now."""
        roots = tuple(root.certificate for root in self.roots if root.trusted)
        return TrustList(
            fleet=self.fleet, number=self.number, issued_s=now_s, roots=roots, revoked=self.revoked
        )

    def with_issued(self, issued: Issued) -> Ledger:
        """Return the ledger with one more certificate; those that ran out go, but for the last of a name."""
        newest = {entry.uri: entry for entry in (*self.issued, issued)}
        kept = (
            entry
            for entry in self.issued
            if entry.not_after_s > issued.issued_s or newest[entry.uri] is entry
        )
        return dataclasses.replace(self, issued=(*kept, issued))

    def with_revoked(self, uri: str, now_s: float) -> Ledger:
        """Return the ledger with every key of a name revoked; entries whose certificates ran out go.

        Raises:
            NotFoundError: nothing was issued to that name.
            StateError: all of its keys are revoked already.
        """
        if not any(entry.uri == uri for entry in self.issued):
            raise NotFoundError(
                f"nothing was issued to {uri[:200]!r}.", next_step="edgeloop ca status lists what was."
            )
        known = {revoked.public_key for revoked in self.revoked}
        new = {
            entry.public_key: Revoked(public_key=entry.public_key, uri=uri, until_s=entry.not_after_s)
            for entry in self.issued
            if entry.uri == uri and entry.public_key not in known
        }
        if not new:
            raise StateError(f"every key of {uri} is revoked already.")
        kept = (revoked for revoked in self.revoked if revoked.until_s > now_s)
        return dataclasses.replace(self, number=self.number + 1, revoked=(*kept, *new.values()))

    def is_revoked(self, issued: Issued) -> bool:
        """Return whether a certificate's key is refused."""
        return any(revoked.public_key == issued.public_key for revoked in self.revoked)

    def with_root(self, certificate: str) -> Ledger:
        """Return the ledger with a further root that is trusted and does not sign yet.

        Raises:
            StateError: a rollover is under way.
        """
        if sum(root.trusted for root in self.roots) > 1:
            raise StateError("a rollover is under way.", next_step="End it: edgeloop ca rollover finish.")
        new = Root(number=self.roots[-1].number + 1, certificate=certificate, trusted=True)
        return dataclasses.replace(self, number=self.number + 1, roots=(*self.roots, new))

    def switched(self) -> Ledger:
        """Return the ledger with the newest root signing.

        Raises:
            StateError: it does already.
        """
        newest = self.roots[-1].number
        if newest == self.active:
            raise StateError("no rollover is under way.", next_step="Begin one: edgeloop ca rollover begin.")
        return dataclasses.replace(self, active=newest)

    def finished(self, now_s: float) -> Ledger:
        """Return the ledger with the signing root alone trusted.

        Raises:
            StateError: there is no other, it does not sign yet, or certificates of another are in use.
        """
        if sum(root.trusted for root in self.roots) < 2 or self.roots[-1].number != self.active:
            raise StateError("there is no rollover to finish.", next_step="Begin and switch first.")
        newest = {entry.uri: entry for entry in self.issued if not self.is_revoked(entry)}
        late = [e.uri for e in newest.values() if e.root != self.active and e.not_after_s > now_s]
        if late:
            raise StateError(
                f"{', '.join(late[:5])} still use certificates of the old root ({len(late)} in all).",
                next_step="Renew them first: edgeloop ca renew.",
            )
        roots = tuple(dataclasses.replace(root, trusted=root.number == self.active) for root in self.roots)
        return dataclasses.replace(self, number=self.number + 1, roots=roots)
