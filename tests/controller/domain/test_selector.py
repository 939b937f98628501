"""Conditions that choose devices."""

from __future__ import annotations

import pytest
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry, KnownFacts, age_words
from edgeloop.domain.selector import Selection, looks_like_condition, parse_condition, select
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.facts import Facts, Hardware, OperatingSystem, RuntimeFacts

NOW_S = 1_800_000_000.0
LABELS = ("rack", "arch")


def entry(name: str, *groups: str, **labels: str) -> InventoryEntry:
    spec = DeviceSpec(name=name, transport="ssh", address=f"pi@{name}")
    return InventoryEntry(spec=spec, labels=tuple(sorted(labels.items())), groups=groups)


def known(arch: str, ram: int, python: str = "3.11.2", runtimes: tuple[RuntimeFacts, ...] = ()) -> KnownFacts:
    facts = Facts(
        device_id="d",
        name="d",
        hardware=Hardware(architecture=arch, logical_cores=4, memory_total_bytes=ram, isa_flags=("asimddp",)),
        operating_system=OperatingSystem(
            name="Debian GNU/Linux 12 (bookworm)", kernel="k", python_version=python
        ),
        runtimes=runtimes,
    )
    return KnownFacts(address="ssh:a", seen_s=NOW_S - 7200, facts=facts)


ENTRIES = (
    entry("pi5", "lab", rack="3"),
    entry("pi4", "lab", rack="4"),
    entry("nuc", rack="3", arch="old"),
    entry("new", "lab"),
)
ORT = RuntimeFacts(name="onnxruntime", version="1.31.1")
FACTS = {
    "pi5": known("aarch64", 8_200_000_000, runtimes=(ORT,)),
    "pi4": known("aarch64", 1_900_000_000, python="3.9.2"),
    "nuc": known(
        "x86_64", 16_000_000_000, python="3.13.1", runtimes=(RuntimeFacts(name="litert", reason="no"),)
    ),
}


def chosen(text: str) -> Selection:
    column, conditions = 1, []
    for word in text.split(","):
        conditions.append(parse_condition(word, column, LABELS))
        column += len(word) + 1
    return select(conditions, ENTRIES, FACTS, NOW_S)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("arch=aarch64", "pi5 pi4"),
        ("arch=aarch64,ram>=4GB", "pi5"),
        ("ram<2GB", "pi4"),
        ("ram>=1.9GB", "pi5 pi4 nuc"),
        ("ram>=1.9GiB", "pi5 nuc"),
        ("cores=4", "pi5 pi4 nuc"),
        ("python>=3.11", "pi5 nuc"),
        ("python=3.11", "pi5"),
        ("python<3.10", "pi4"),
        ("runtime=onnxruntime", "pi5"),
        ("runtime!=onnxruntime", "pi4 nuc"),
        ("isa=asimd*", "pi5 pi4 nuc"),
        ("os=debian,arch=x86*", "nuc"),
        ("group=lab", "pi5 pi4 new"),
        ("group!=lab", "nuc"),
        ("rack=3", "pi5 nuc"),
        ("label.rack=3,group=lab", "pi5"),
        ("label.arch=old", "nuc"),
        ("name=pi*", "pi5 pi4"),
    ],
)
def test_those_that_meet_every_condition_are_chosen(text: str, names: str) -> None:
    assert [entry.name for entry in chosen(text).chosen] == names.split()


def test_the_age_of_facts_and_the_unknown_device_are_told() -> None:
    assert chosen("arch=aarch64").notes == (
        "chosen by facts as last seen: pi5 2 hours ago, pi4 2 hours ago",
        "new is left out: its arch is not known. Ask it: edgeloop device facts --on new",
    )
    assert chosen("rack=3").notes == ()
    # What is known to fail is not left out for what is not known.
    assert chosen("rack=3,ram>1GB").notes == (
        "chosen by facts as last seen: pi5 2 hours ago, nuc 2 hours ago",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("group=lab,rak=3", "column 11: found 'rak', allowed is one of arch, ram, .*label rack"),
        ("ram>=4", "column 6: found '4', allowed is a size like"),
        ("ram>=", "column 6: found 'nothing', allowed is a size"),
        ("arch>=aarch64", "column 5: found '>=', allowed is = or != after arch"),
        ("cores>=four", "column 8: found 'four', allowed is a whole number"),
        ("python>=new", "column 9: found 'new', allowed is a version"),
        ("group=a b", "column 7: found 'a b', allowed is a word"),
        ("lab", "column 1: found 'lab', allowed is a condition"),
        ("arch=riscv64", "none of 4 named devices meets arch=riscv64. new is left out"),
    ],
)
def test_each_mistake_says_where_it_is_and_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        chosen(text)


def test_a_named_device_is_no_condition() -> None:
    for word in ("a=sim:nuc11", "a=local", "a=ssh:pi@b", "a=unix:/run/x", "a=grpc://h:1", "a=fleet:b", "pi"):
        assert not looks_like_condition(word)
    assert looks_like_condition("rack=3")
    assert looks_like_condition("ram>=4GB")


def test_ages_are_told_in_words() -> None:
    assert [age_words(s) for s in (0, 59, 60, 7200, 86_400, 300_000)] == [
        "just now",
        "just now",
        "1 minute ago",
        "2 hours ago",
        "1 day ago",
        "3 days ago",
    ]


def test_a_label_that_no_selector_could_name_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="label rack is 'a b'; allowed are letters"):
        entry("pi", rack="a b")
