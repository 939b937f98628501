"""Profiles come from files, and a wrong one is refused with field, found and allowed."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import edgeloop_profiles
import pytest
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError
from edgeloop_profiles import check_profile, list_profiles, load_profile
from edgeloop_profiles.writing import to_toml

BOARDS = Path(edgeloop_profiles.__file__).parent / "boards"
Edit = Callable[[str], str]


def replace(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert old in text, f"the board no longer says {old!r}"
        return text.replace(old, new, 1)

    return edit


def append(table: str) -> Edit:
    return lambda text: f"{text}\n{table}\n"


RATE = """[[runtimes.rates]]
kind = "assumed"
source = "a row of the board's own"
kernel_classes = ["%s"]
precision = "fp32"
%s"""


def test_shipped_profiles_are_named_after_their_files() -> None:
    assert list_profiles() == (
        "browser_wasm_simd",
        "jetson_nano",
        "jetson_orin_nano",
        "jetson_xavier_nx",
        "mini_pc_n100",
        "mini_pc_n5105",
        "nuc11",
        "nuc13_i5",
        "nuc8_i5",
        "phone_snapdragon_855",
        "raspberry_pi_3b_plus",
        "raspberry_pi_4",
        "raspberry_pi_5",
        "raspberry_pi_zero_2w",
    )
    assert [load_profile(name).name for name in list_profiles()] == list(list_profiles())


def test_digest_covers_every_file_that_was_read() -> None:
    files = BOARDS / "nuc11.toml", BOARDS.parent / "runtimes" / "onnxruntime_avx512_vnni.toml"
    digests = "\n".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    assert load_profile("nuc11").digest == hashlib.sha256(digests.encode()).hexdigest()


def test_digest_of_a_profile_that_takes_nothing_over_is_that_of_its_file(tmp_path: Path) -> None:
    whole = tmp_path / "nuc11.toml"
    whole.write_text(to_toml(load_profile("nuc11")))
    loaded = load_profile(whole)
    assert loaded.digest == hashlib.sha256(whole.read_bytes()).hexdigest()
    assert dataclasses.replace(loaded, digest="") == dataclasses.replace(load_profile("nuc11"), digest="")


def test_a_path_works_like_a_name(tmp_path: Path) -> None:
    copy = tmp_path / "nuc11.toml"
    copy.write_bytes((BOARDS / "nuc11.toml").read_bytes())
    assert load_profile(copy) == load_profile("nuc11")


@pytest.mark.parametrize("name", ["raspberry_pi_6", "/nowhere/else.toml"])
def test_an_unknown_profile_lists_the_known_ones(name: str) -> None:
    with pytest.raises(NotFoundError, match=r"browser_wasm_simd, .*nuc11, .*raspberry_pi_zero_2w"):
        load_profile(name)


@pytest.mark.parametrize(
    ("edit", "field", "found", "allowed"),
    [
        (
            replace("physical_cores = 4", 'physical_cores = "four"'),
            "processor.physical_cores",
            "str 'four'",
            "a whole number",
        ),
        (
            replace("physical_cores = 4", "physical_cores = 0"),
            "processor.physical_cores",
            "int 0",
            "at least 1",
        ),
        (
            replace("physical_cores = 4", "physical_cores = true"),
            "processor.physical_cores",
            "bool True",
            "a whole number",
        ),
        (replace("physical_cores = 4\n", ""), "processor.physical_cores", "nothing", "a whole number"),
        (
            replace("physical_cores = 4", "physical_cores = 4\nsockets = 1"),
            "processor.sockets",
            "not known",
            "physical_cores",
        ),
        (
            replace('isa_tier = "neon"', 'isa_tier = "altivec"'),
            "processor.isa_tier",
            "'altivec'",
            "'neon_dotprod'",
        ),
        (
            replace("logical_cores = 4", "logical_cores = 2"),
            "logical_cores",
            "2",
            "at least physical_cores 4",
        ),
        (replace('kind = "datasheet"', 'kind = "hearsay"'), "processor.kind", "'hearsay'", "'literature'"),
        (
            replace('source = "SD card', 'source = "" #'),
            "storage.source",
            "str ''",
            "is a text that is not empty",
        ),
        (
            replace("one_core_bytes_per_s = 4.6e9", "one_core_bytes_per_s = nan"),
            "bandwidth.one_core_bytes_per_s",
            "nan",
            "above 0",
        ),
        (
            replace("one_core_bytes_per_s = 4.6e9", "one_core_bytes_per_s = 9e9"),
            "all_cores_bytes_per_s",
            "5.5e+09",
            "at least one_core_bytes_per_s",
        ),
        (
            replace("reserved_bytes = 419430400", "reserved_bytes = 4294967296"),
            "reserved_bytes",
            "4294967296",
            "below total_bytes",
        ),
        (replace("speedup = [1.0, ", "speedup = [1.2, "), "speedup", "1.2", "starts at 1"),
        (replace("speedup = [1.0, 1.5", "speedup = [1.0, 2.5"), "speedup", "2.5", "starts at 1"),
        (
            replace("speedup = [1.0, 1.5, ", "speedup = [1.0, "),
            "speedup",
            "3 entries",
            "one per logical core, 4",
        ),
        (replace("die_fraction = 0.75", "die_fraction = 1.5"), "power.die_fraction", "1.5", "at most 1"),
        (replace("temperature_celsius = 82.0", "temperature_celsius = 79.0"), "steps", "79.0", "rise"),
        (replace("spike_rate = 0.025", "spike_rate = -1"), "tails[0].spike_rate", "-1", "at least 0"),
        (replace('precision = "fp16"\np90', 'precision = "fp32"\np90'), "tails", "fp16", "one per precision"),
        (
            replace('channels = ["cpu-thermal"]', "channels = []"),
            "sensors[0]",
            "[]",
            "a sensor is there, or a reason",
        ),
        (
            append(RATE % ("attention", "macs_per_cycle = 3.0")),
            "kernel_classes[0]",
            "'attention'",
            "'depthwise'",
        ),
        (append(RATE % ("conv", "")), "macs_per_cycle", "nothing", "bytes_per_cycle"),
        (
            replace('like = "onnxruntime_neon"', 'like = "onnxruntime_sve"'),
            "runtimes[0].like",
            "'onnxruntime_sve'",
            "onnxruntime_neon, ",
        ),
        (replace('like = "onnxruntime_neon"', "like = 7"), "runtimes[0].like", "int 7", "a text"),
        (
            append("[runtimes.scaled]\nkind = 'assumed'\nsource = 'a guess'\nint8_factor = 0"),
            "runtimes[0].scaled.int8_factor",
            "float 0.0",
            "above 0",
        ),
        (append("[runtimes.scaled]\nint8_factor = 2"), "runtimes[0].scaled.kind", "nothing", "'literature'"),
        (replace("schema_version = 1", "schema_version = 2"), "schema_version", "2", "1"),
        (replace('name = "raspberry_pi_4"', 'name = "other"'), "name", "'other'", "'raspberry_pi_4'"),
    ],
)
def test_a_wrong_field_is_named_with_found_and_allowed(
    tmp_path: Path, edit: Edit, field: str, found: str, allowed: str
) -> None:
    path = tmp_path / "raspberry_pi_4.toml"
    path.write_text(edit((BOARDS / path.name).read_text()))
    with pytest.raises(InvalidInputError) as caught:
        load_profile(path)
    assert "raspberry_pi_4.toml: " in caught.value.message
    for part in (field, found, allowed):
        assert part in caught.value.message


def test_every_problem_of_a_file_is_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "raspberry_pi_4.toml"
    text = (BOARDS / path.name).read_text()
    for edit in (
        replace("physical_cores = 4", 'physical_cores = "four"'),
        replace('isa_tier = "neon"', 'isa_tier = "altivec"'),
        replace("[storage]", "[storage]\ncolour = 1"),
        replace(
            'kind = "datasheet"\nsource = "raspberrypi/documentation: 4 GB', 'source = "raspberrypi: 4 GB'
        ),
        replace("speedup = [1.0, ", "speedup = [1.2, "),
    ):
        text = edit(text)
    path.write_text(text)
    messages = [problem.message for problem in check_profile(path)]
    assert [message.partition(": found")[0] for message in messages] == [
        "raspberry_pi_4.toml: processor.isa_tier",
        "raspberry_pi_4.toml: processor.physical_cores",
        "raspberry_pi_4.toml: memory.kind",
        "raspberry_pi_4.toml: storage.colour",
        "raspberry_pi_4.toml: runtimes[0].threads: speedup",
    ]


@pytest.mark.parametrize("name", list_profiles())
def test_a_shipped_profile_has_no_problem(name: str) -> None:
    assert check_profile(name) == ()


def test_a_directory_may_hold_the_sign_of_power_modes(tmp_path: Path) -> None:
    folder = tmp_path / "me@home"
    folder.mkdir()
    (folder / "jetson_nano.toml").write_bytes((BOARDS / "jetson_nano.toml").read_bytes())
    assert load_profile(folder / "jetson_nano.toml").power_mode == "10w"
    assert load_profile(f"{folder}/jetson_nano.toml@5w").name == "jetson_nano@5w"


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"schema_version = 1"])
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"broken\.toml"):
        load_profile(path)


def test_without_tomllib_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomllib", None)
    with pytest.raises(MissingDependencyError, match=r"Python 3\.11.*real board needs no profile"):
        load_profile("nuc11")


def test_every_group_of_figures_says_where_it_comes_from() -> None:
    def sources(value: object) -> list[str]:
        if isinstance(value, tuple):
            return [source for item in value for source in sources(item)]
        if not hasattr(value, "__dataclass_fields__"):
            return []
        own = [value.source] if hasattr(value, "source") else []
        return own + [
            source for name in value.__dataclass_fields__ for source in sources(getattr(value, name))
        ]

    for name in list_profiles():
        found = sources(load_profile(name))
        assert len(found) > 30
        assert not [source for source in found if len(re.findall(r"\w+", source)) < 2]


DOCUMENT = re.compile(
    r"raspberrypi/documentation|[Dd]ata ?sheet|Intel ARK|sbc-bench|ncnn|geerlingguy/|AnandTech|MLPerf"
)


@pytest.mark.parametrize("name", list_profiles())
def test_what_is_no_assumption_names_a_document(name: str) -> None:
    """Figures of the hardware that nobody looked up say that they are assumed."""
    profile = load_profile(name)
    for group in (profile.processor, profile.caches, profile.memory, profile.bandwidth, profile.power):
        assert group.kind in ("assumed", "fitted") or DOCUMENT.search(group.source), group


def test_runtime_rates_admit_that_they_are_not_validated() -> None:
    for name in list_profiles():
        assert all(
            "transferred" in runtime.source and "unvalidated" in runtime.source
            for runtime in load_profile(name).runtimes
        )
