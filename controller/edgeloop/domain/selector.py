"""Selectors of devices: ``arch=aarch64,ram>=4GB``, ``group=lab``, ``rack=3``.

A selector is a comma list of conditions ``KEY OP VALUE`` that must all hold. OP is one of ``= != >= <= > <``; the last
four are for amounts and versions. Text may hold ``*`` and ``?``. KEY is a fact (see ``FACT_KEYS``), ``name``,
``group``, the key of a label, or ``label.KEY`` where a label has the name of a fact. Sizes are written
512MB, 4GB, 4GiB.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.facts import Facts

from edgeloop.domain.inventory import InventoryEntry, KnownFacts, age_words

__all__ = ["FACT_KEYS", "Condition", "Selection", "looks_like_condition", "parse_condition", "select"]

_FORM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9._-]*)\s*(>=|<=|!=|=|>|<)\s*(.*?)\s*")
_VALUE = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._*?+-]*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_VERSION = re.compile(r"\d+(?:\.\d+)*")
_DEVICE_FORMS = ("sim:", "unix:", "ssh:", "grpc:", "fleet:")
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "!=": operator.ne,
}

FACT_KEYS: Mapping[str, str] = {
    "arch": "text",
    "ram": "size",
    "disk": "size",
    "cores": "count",
    "os": "text",
    "python": "version",
    "runtime": "text",
    "isa": "text",
    "profile": "text",
}
"""Key of a fact -> what its values are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that must hold."""

    #: As written, for messages.
    text: str
    #: A key of ``FACT_KEYS``, "name", "group", or "label.KEY".
    key: str
    #: One of the six operators.
    sign: str
    #: Right side as written.
    value: str

    @property
    def about_facts(self) -> bool:
        """Whether only the device itself can answer it."""
        return self.key in FACT_KEYS

    def holds(self, entry: InventoryEntry, facts: Facts | None) -> bool | None:
        """Return whether a device meets it; None when what it asks for is not known."""
        if self.key == "name":
            return self._any((entry.name,))
        if self.key == "group":
            return self._any(entry.groups)
        if not self.about_facts:
            labels = dict(entry.labels)
            label = self.key.removeprefix("label.")
            return self._any((labels[label],) if label in labels else ())
        found = _fact(facts, self.key) if facts is not None else None
        if found is None:
            return None
        kind = FACT_KEYS[self.key]
        if kind == "text":
            return self._any(found)
        compare = _ORDER[self.sign]
        if kind == "version":
            return _versions_compare(compare, found[0], self.value)
        wanted = _size(self.value) if kind == "size" else float(self.value)
        return compare(float(found[0]), wanted)

    def _any(self, found: Collection[str]) -> bool:
        there = any(fnmatch.fnmatchcase(word.lower(), self.value.lower()) for word in found)
        return there if self.sign == "=" else not there


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What conditions chose."""

    #: Devices that meet all of them, in the order of the inventory.
    chosen: tuple[InventoryEntry, ...]
    #: Sentences for people: how old the facts are, and who was left out because something is not known.
    notes: tuple[str, ...]


def looks_like_condition(word: str) -> bool:
    """Return whether a word of ``--on`` is a condition, and not a device with a name in front."""
    match = _FORM.fullmatch(word)
    if match is None:
        return False
    _, sign, value = match.groups()
    return not (sign == "=" and (value == "local" or value.startswith(_DEVICE_FORMS)))


def parse_condition(word: str, column: int, labels: Collection[str]) -> Condition:
    """Read one condition.

    Args:
        word: for example "ram>=4GB".
        column: where it starts in what the user wrote, from 1.
        labels: keys of labels that some device has.

    Raises:
        InvalidInputError: it is none; says the column, what was found and what is allowed.
    """
    match = _FORM.fullmatch(word)
    if match is None:
        raise _error(column, word, "a condition KEY=VALUE or KEY>=VALUE")
    key, sign, value = match.groups()
    at_key, at_value = column + match.start(1), column + match.start(3)
    plain = key.removeprefix("label.")
    if key not in (*FACT_KEYS, "name", "group"):
        if plain not in labels:
            known = ", ".join([*FACT_KEYS, "name", "group", *(f"label {label}" for label in sorted(labels))])
            raise _error(at_key, key, f"one of {known}")
        key = f"label.{plain}"
    kind = FACT_KEYS.get(key, "text")
    if kind == "text" and sign not in ("=", "!="):
        raise _error(column + match.start(2), sign, f"= or != after {key}")
    allowed = {
        "text": (_VALUE, "a word, * and ? allowed"),
        "size": (_SIZE, "a size like 512MB, 4GB or 4GiB"),
        "count": (re.compile(r"\d+"), "a whole number"),
        "version": (_VERSION, "a version like 3.11"),
    }
    form, said = allowed[kind]
    if form.fullmatch(value) is None:
        raise _error(at_value, value, said)
    return Condition(text=word.strip(), key=key, sign=sign, value=value)


def select(
    conditions: Sequence[Condition],
    entries: Sequence[InventoryEntry],
    known: Mapping[str, KnownFacts],
    now_s: float,
) -> Selection:
    """Return the devices that meet every condition; one whose fact is not known is left out with a sentence.

    Args:
        conditions: what must hold.
        entries: devices to choose from.
        known: last facts by name of the device.
        now_s: seconds since 1970.

    Raises:
        InvalidInputError: no device meets them.
    """
    chosen: list[InventoryEntry] = []
    left_out: list[str] = []
    ages: list[str] = []
    for entry in entries:
        last = known.get(entry.name)
        answers = [(c, c.holds(entry, last.facts if last else None)) for c in conditions]
        if any(answer is False for _, answer in answers):
            continue
        unknown = [condition for condition, answer in answers if answer is None]
        if unknown:
            left_out.append(
                f"{entry.name} is left out: its {unknown[0].key} is not known. "
                f"Ask it: edgeloop device facts --on {entry.name}"
            )
            continue
        chosen.append(entry)
        if last is not None and any(condition.about_facts for condition in conditions):
            ages.append(f"{entry.name} {age_words(last.age_s(now_s))}")
    if not chosen:
        wanted = ",".join(condition.text for condition in conditions)
        reasons = f" {' '.join(left_out)}" if left_out else ""
        raise InvalidInputError(
            f"none of {len(entries)} named devices meets {wanted}.{reasons}",
            next_step="See what there is: edgeloop device list",
        )
    notes = [f"chosen by facts as last seen: {', '.join(ages)}"] if ages else []
    return Selection(chosen=tuple(chosen), notes=(*notes, *left_out))


def _error(column: int, found: str, allowed: str) -> InvalidInputError:
    return InvalidInputError(f"column {column}: found {found or 'nothing'!r}, allowed is {allowed}.")


def _size(text: str) -> float:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidInputError(f"a size is written like 4GB, found {text!r}.")
    return float(match[1]) * _UNITS[match[2]]


def _fact(facts: Facts, key: str) -> tuple[str, ...] | None:
    """Return the words of a fact, none of them when the device has nothing of it; None when it is not known."""
    board, system = facts.hardware, facts.operating_system
    usable = tuple(runtime.name for runtime in facts.runtimes if not runtime.reason)
    found: Mapping[str, tuple[str, ...]] = {
        "arch": (board.architecture,),
        "ram": (str(board.memory_total_bytes),) if board.memory_total_bytes else (),
        "disk": (str(facts.disk_free_bytes),) if facts.disk_total_bytes else (),
        "cores": (str(board.logical_cores),),
        "os": tuple(word for word in (system.name, *system.name.split()) if word),
        "python": (system.python_version,) if system.python_version else (),
        "runtime": usable,
        "isa": board.isa_flags,
        "profile": (facts.profile,),
    }
    words = found[key]
    # A board without a usable runtime or a known extension answers the question: it has none.
    return words if words or key in ("runtime", "isa") else None


def _versions_compare(compare: Callable[[Any, Any], bool], found: str, wanted: str) -> bool | None:
    match = _VERSION.match(found)
    if match is None:
        return None
    want = tuple(int(part) for part in wanted.split("."))
    # 3.11 means every 3.11.x.
    have = tuple(int(part) for part in match[0].split("."))[: len(want)]
    return compare(have, want)
