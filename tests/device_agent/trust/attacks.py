"""The trust table: every row is one bundle, at one time, for one device that must refuse it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

from edgeloop_agent.trust.verify import pin, verify
from edgeloop_agent.trust_files import TrustState
from edgeloop_protocol.types.deployment import ReleaseBundle

from .forge import DAY_S, LIFE_S, NAME, ROLES, YEAR_S, Forge, make_keys

__all__ = ["Attack", "Ground", "attacks"]

ONLINE = ("timestamp", "snapshot", "targets")
SUBSETS = [roles for count in (1, 2, 3) for roles in combinations(ONLINE, count)]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One row."""

    kind: str
    name: str
    state: TrustState
    bundle: ReleaseBundle
    now_s: float
    #: Name of the deployment that is asked for.
    deployment: str = NAME


class Ground:
    """A fleet that has signed five releases, a device that accepted the third, and a stranger's fleet."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s
        self.forge, self.stranger = Forge(now_s=now_s), Forge(now_s=now_s)
        self.releases = {n: self.forge.bundle(n) for n in range(1, 6)}
        self.new = pin(self.forge.root())
        state = self.new
        for n in (1, 2, 3):
            state = self.accepted(state, self.releases[n])
        self.state = state
        #: The next release, which every attack is a form of; a device accepts it as it is.
        self.next = self.releases[4]

    def accepted(self, state: TrustState, bundle: ReleaseBundle, now_s: float | None = None) -> TrustState:
        """Return the state of a device that accepts a bundle."""
        return verify(state, bundle, NAME, self.now_s if now_s is None else now_s).state

    def attack(self, kind: str, name: str, bundle: ReleaseBundle, **other: Any) -> Attack:
        """Return a row for the device at the time of the ground."""
        return Attack(
            **{
                "kind": kind,
                "name": name,
                "bundle": bundle,
                "state": self.state,
                "now_s": self.now_s,
                **other,
            }
        )

    def lost(self, roles: tuple[str, ...]) -> TrustState:
        """Return the state of a device whose kept files of some roles are gone."""
        return replace(self.state, metadata=replace(self.state.metadata, **dict.fromkeys(roles, "")))


def _rolled_back(g: Ground) -> Iterator[Attack]:
    for role in ONLINE:
        for version in (1, 2):
            old = getattr(g.releases[version], role)
            yield g.attack("rollback", f"{role} {version}", replace(g.next, **{role: old}))
    for version in (1, 2):
        yield g.attack("rollback", f"whole bundle {version}", g.releases[version])
        # The online keys are stolen; the release key is not.
        listed = g.forge.snapshot(9, lists=version)
        files = {"targets": g.forge.targets(version), "snapshot": listed, "timestamp": g.forge.timestamp(9)}
        yield g.attack("rollback", f"stolen snapshot key lists targets {version}", g.forge.bundle(9, **files))
        listed = g.forge.timestamp(9, lists=version)
        files = {
            "targets": g.forge.targets(version),
            "snapshot": g.forge.snapshot(version),
            "timestamp": listed,
        }
        yield g.attack(
            "rollback", f"stolen timestamp key lists snapshot {version}", g.forge.bundle(9, **files)
        )
        # Every key but the root's is stolen: the counter of the name still does not go back.
        yield g.attack(
            "rollback",
            f"stolen release key signs counter {version}",
            g.forge.bundle(9, targets=g.forge.targets(9, counter=version)),
        )
    other = g.forge.bundle(9, targets=g.forge.targets(9, counter=3, digest="f" * 64))
    yield g.attack("rollback", "counter 3 for a second artifact", other)
    fresh = {**g.forge.keys, "timestamp": make_keys()["timestamp"]}
    second = g.forge.root(2, keys=fresh)
    rotated = Forge(now_s=g.now_s, keys=fresh)
    state = g.accepted(g.state, rotated.bundle(4, roots=(g.forge.root(), second)))
    for roots in ((g.forge.root(),), (g.forge.root(), second)):
        bundle = g.forge.bundle(5, roots=roots)
        yield g.attack("rollback", f"keys of root 1 after root 2, {len(roots)} roots", bundle, state=state)


def _frozen(g: Ground) -> Iterator[Attack]:
    for role in ROLES:
        for name, late_s in (("a second", 2), ("a day", DAY_S), ("a year", YEAR_S)):
            now_s = g.now_s + LIFE_S[role] + late_s
            # All else is signed then: what has run out is this one role's file.
            then = g.forge.later(now_s - g.now_s)
            fresh = {other: then.role(other, 4) for other in ONLINE if other != role}
            fresh |= {role: g.forge.role(role, 4)} if role != "root" else {}
            roots = (g.forge.root() if role == "root" else then.root(),)
            state = pin(roots[0])
            yield g.attack(
                "freeze",
                f"{role} {name} late",
                g.forge.bundle(4, roots=roots, **fresh),
                now_s=now_s,
                state=state,
            )
    for role in ROLES:
        for name, left_s in (("a second", -1.0), ("a year", -YEAR_S), ("in 1971", YEAR_S - g.now_s)):
            if role == "root":
                roots = (g.forge.root(), g.forge.root(2, left_s=left_s))
                bundle = g.forge.bundle(4, roots=roots)
            else:
                bundle = g.forge.bundle(4, **{role: g.forge.role(role, 4, left_s=left_s)})
            yield g.attack("expired", f"{role} signed with an expiry {name} ago", bundle)


def _forwarded(g: Ground) -> Iterator[Attack]:
    for role in ROLES:
        whole = g.next.roots[0] if role == "root" else getattr(g.next, role)
        for version in (5, 2**31 - 1, 2**63):
            tree = json.loads(whole)
            tree["signed"]["version"] = version
            text = json.dumps(tree)
            bundle = (
                g.forge.bundle(4, roots=(g.forge.root(), text))
                if role == "root"
                else replace(g.next, **{role: text})
            )
            # A root that is not the next one is never read: the one that follows is.
            if role == "root":
                tree["signed"]["version"] = 2
                tree["signed"]["expires"] = f"{2**12 + version % 1000}-01-01T00:00:00Z"
                bundle = g.forge.bundle(4, roots=(g.forge.root(), json.dumps(tree)))
            yield g.attack("fast-forward", f"{role} {version} without its key", bundle)
    for role in ("snapshot", "targets"):
        # Signed, and newer than what the next role above lists.
        yield g.attack(
            "fast-forward", f"{role} ahead of its list", replace(g.next, **{role: g.forge.role(role, 99)})
        )


def _mixed(g: Ground) -> Iterator[Attack]:
    for roles in SUBSETS:
        strange = {role: g.stranger.role(role, 4) for role in roles}
        yield g.attack("mix", f"stranger's {'+'.join(roles)}", replace(g.next, **strange))
        roots = (g.stranger.root(),)
        yield g.attack(
            "mix",
            f"stranger's {'+'.join(roles)} and root",
            replace(g.next, roots=roots, **strange),
            state=g.new,
        )
        if roles != ONLINE:
            later = {role: getattr(g.releases[5], role) for role in roles}
            if "timestamp" not in roles or roles == ("timestamp",):
                yield g.attack("mix", f"{'+'.join(roles)} of the release after", replace(g.next, **later))
    for place, found in permutations(ROLES, 2):
        text = g.next.roots[0] if found == "root" else getattr(g.next, found)
        changed: dict[str, Any] = {"roots": (*g.next.roots, text)} if place == "root" else {place: text}
        if place == "root":
            # It is read as a root only where the file says that it is version 2.
            tree = json.loads(text)
            tree["signed"]["version"] = 2
            changed = {"roots": (*g.next.roots, json.dumps(tree))}
        yield g.attack("mix", f"{found} in the place of {place}", replace(g.next, **changed))


def _wrongly_signed(g: Ground) -> Iterator[Attack]:
    for role, by in permutations(ROLES, 2):
        if role == "root":
            bundle = g.forge.bundle(4, roots=(g.forge.root(), g.forge.root(2, by=g.forge.keys[by])))
        else:
            bundle = replace(g.next, **{role: g.forge.role(role, 4, by=by)})
        yield g.attack("keys", f"{role} signed by the key of {by}", bundle)
    for role in ONLINE:
        yield g.attack(
            "keys", f"{role} signed by nobody", replace(g.next, **{role: g.forge.role(role, 4, by="nobody")})
        )
    first, second = g.forge.keys["root"]
    theirs = make_keys()
    forged = {
        "signed by nobody": g.forge.root(2, by=[]),
        "signed by one of two": g.forge.root(2, by=[first]),
        "signed twice by one": g.forge.root(2, by=[first, first]),
        "signed by one and a stranger": g.forge.root(2, by=[second, theirs["root"][0]]),
        "signed by the keys that it brings": g.forge.root(2, keys=theirs, by=theirs["root"]),
        "that lowers its own threshold": g.forge.root(2, threshold=1, by=[first]),
        "that brings keys which did not sign": g.forge.root(2, keys=theirs),
    }
    for name, root in forged.items():
        yield g.attack("keys", f"root {name}", g.forge.bundle(4, roots=(g.forge.root(), root)))


def _zeroed(g: Ground) -> Iterator[Attack]:
    for roles in SUBSETS:
        for version in (1, 2):
            # python-tuf alone takes it for a first use.
            name = f"{'+'.join(roles)} lost, release {version} again"
            yield g.attack("zeroed", name, g.releases[version], state=g.lost(roles))
    everything = g.lost(ONLINE)
    counted = g.forge.bundle(9, targets=g.forge.targets(9, counter=2))
    yield g.attack("zeroed", "all lost, a lower counter under new versions", counted, state=everything)
    yield g.attack(
        "zeroed",
        "all lost, the clock before the last signature",
        g.next,
        state=everything,
        now_s=g.now_s - DAY_S,
    )


def _clock(g: Ground) -> Iterator[Attack]:
    for years in (-10, -5, -1, 1, 5, 10):
        now_s = g.now_s + years * YEAR_S
        yield g.attack("clock", f"{years:+} years, the next release", g.next, now_s=now_s)
        yield g.attack("clock", f"{years:+} years, the same release", g.releases[3], now_s=now_s)
        yield g.attack("clock", f"{years:+} years, a new device", g.next, now_s=now_s, state=g.new)
    for name, said in (("ten years", 10 * YEAR_S), ("a day", DAY_S), ("six minutes", 360)):
        bundle = replace(g.next, timestamp=g.forge.timestamp(4, said=int(g.now_s) + said))
        yield g.attack("clock", f"signed {name} ahead", bundle)
    for said in (None, -1, "1700000000", True, False, [], {}):
        bundle = replace(g.next, timestamp=g.forge.timestamp(4, said=said))
        yield g.attack("clock", f"signed at {said!r}", bundle)


def _oversized(g: Ground) -> Iterator[Attack]:
    for role in ROLES:
        whole = g.next.roots[0] if role == "root" else getattr(g.next, role)
        for size in (1 << 20, 1 << 22):
            text = whole + " " * size
            bundle = replace(g.next, **({"roots": (text,)} if role == "root" else {role: text}))
            yield g.attack("oversized", f"{role} and {size} blanks", bundle)
        padding = {"padding": "x" * (1 << 20)}
        if role == "root":
            bundle = g.forge.bundle(4, roots=(g.forge.root(), g.forge.root(2, extra=padding)))
        else:
            bundle = replace(g.next, **{role: g.forge.role(role, 4, extra=padding)})
        yield g.attack("oversized", f"{role}, signed, with a mebibyte in it", bundle)
    for count in (65, 1000):
        yield g.attack("oversized", f"{count} roots", replace(g.next, roots=g.next.roots * count))
    yield g.attack("oversized", "no root", replace(g.next, roots=()))


def _terms(g: Ground) -> Iterator[Attack]:
    tree = json.loads(g.next.targets)["signed"]["targets"][NAME]["custom"]
    changes: dict[str, Any] = {
        "none": False,
        "empty": {},
        "a list": [],
        "no counter": {k: v for k, v in tree.items() if k != "counter"},
        "counter 0": {**tree, "counter": 0},
        "counter -1": {**tree, "counter": -1},
        "counter as text": {**tree, "counter": "four"},
        "a file without a digest": {**tree, "files": [{"name": "golden.npz", "size_bytes": 3}]},
        "a negative limit": {**tree, "memory_bytes_max": -1},
        "processes below none": {**tree, "schema_version": 2, "process_count_max": -1},
        "time below none": {**tree, "schema_version": 2, "step_s_max": -1},
        "an isolation that nobody knows": {**tree, "schema_version": 2, "isolation": "moat"},
        "an isolation that old agents would pass over": {**tree, "isolation": "seccomp"},
        "a layout of the future": {**tree, "schema_version": 3},
    }
    for name, custom in changes.items():
        yield g.attack("terms", f"terms: {name}", replace(g.next, targets=g.forge.targets(4, custom=custom)))
    for name, hashes in (
        ("sha512 alone", {"sha512": "4" * 128}),
        ("two hashes", {"sha256": "4" * 64, "sha512": "4" * 128}),
    ):
        yield g.attack(
            "terms", f"target named by {name}", replace(g.next, targets=g.forge.targets(4, hashes=hashes))
        )
    for name in ("other", "Demo", "demo2", ""):
        yield g.attack("terms", f"asked for {name!r}", g.next, deployment=name)


def attacks(ground: Ground) -> list[Attack]:
    """Return the table."""
    makers = (
        _rolled_back, _frozen, _forwarded, _mixed, _wrongly_signed, _zeroed, _clock, _oversized, _terms,
    )  # fmt: skip
    return [attack for make in makers for attack in make(ground)]
