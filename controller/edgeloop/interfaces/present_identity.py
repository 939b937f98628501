"""Identities to standard output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edgeloop_protocol.types.identity import RENEWAL_DUE_S

from edgeloop.interfaces.present import print_table, print_text

if TYPE_CHECKING:
    from edgeloop.identity.ledger import Issued, Ledger
    from edgeloop.orchestrate.identity import Kept

__all__ = ["print_kept", "print_ledger"]


def _day(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _state(ledger: Ledger, issued: Issued, now_s: float) -> str:
    if ledger.is_revoked(issued):
        return "revoked"
    if issued.not_after_s <= now_s:
        return "expired"
    return "renewal due" if issued.not_after_s - now_s < RENEWAL_DUE_S else "valid"


def print_ledger(ledger: Ledger, public_key: str) -> None:
    """Print an authority and the newest certificate of every name, older ones that still count included."""
    trusted = [str(root.number) for root in ledger.roots if root.trusted]
    print_text(f"fleet {ledger.fleet}: root {ledger.active} signs, trusted: {', '.join(trusted)}")
    print_text(f"authority SHA-256 {public_key}, trust list number {ledger.number}")
    now_s = time.time()
    rows = [
        (entry.uri, _state(ledger, entry, now_s), _day(entry.not_after_s), entry.public_key[:16])
        for entry in sorted(ledger.issued, key=lambda entry: (entry.uri, entry.issued_s))
    ]
    print_table(["identity", "state", "valid until", "key"], rows)


def print_kept(kept: Sequence[Kept]) -> None:
    """Print how devices stand after they were told."""
    rows = []
    for one in kept:
        if one.status is None:
            rows.append((one.device.name, "not told", "", ""))
            continue
        done = [
            word for word, holds in (("renewed", one.renewed), ("trust list updated", one.updated)) if holds
        ]
        until = _day(one.status.not_after_s) if one.status.not_after_s is not None else ""
        rows.append((one.device.name, ", ".join(done) or "up to date", until, str(one.status.trust_number)))
    print_table(["device", "done", "valid until", "trust list"], rows)
    for one in kept:
        if one.error:
            print_text(one.error)
        elif one.status is not None and not one.status.clock_trusted:
            print_text(
                f"{one.device.name}: its clock shows {_day(one.status.wall_time_s)}, which has passed. Set it."
            )
