"""What a device accepts, and everything that it must not."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import time
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path

import pytest
from edgeloop.release.repository import Repository
from edgeloop_agent.release_rules import check_device
from edgeloop_agent.trust.verify import pin, verify
from edgeloop_agent.trust_files import TrustFiles, TrustState
from edgeloop_foundation.errors import AccessDeniedError, CorruptDataError, EdgeloopError, StateError
from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_protocol.types.artifact import FileEntry
from edgeloop_protocol.types.deployment import ReleaseBundle, ReleaseTerms

from scripts.heavy.bundle_mutations import json_equal, mutations
from scripts.heavy.install_scenario import FACTS

GOLDEN = FileEntry(name="golden.npz", digest="1" * 64, size_bytes=3)
YEAR_S = 365 * 86_400
ROLES = ("timestamp", "snapshot", "targets")


def terms(counter: int) -> ReleaseTerms:
    return ReleaseTerms(counter=counter, format="onnx", files=(GOLDEN,), golden_digest=GOLDEN.digest)


@dataclass
class Fleet:
    """A repository, and a device that has accepted its second release; both are changed by tests."""

    repository: Repository
    first: ReleaseBundle
    second: ReleaseBundle
    state: TrustState
    now_s: float
    #: The device before the second release: what is new is read from the bundle, not from what it keeps.
    behind: TrustState

    def accept(self, bundle: ReleaseBundle, now_s: float | None = None) -> TrustState:
        return verify(self.state, bundle, "demo", self.now_s if now_s is None else now_s).state


def make_fleet(directory: Path) -> Fleet:
    now_s = time.time()
    repository = Repository(directory, directory / "keys", "", lambda: now_s)
    repository.create()
    repository.sign("demo", "a" * 64, 10, terms(1))
    first = repository.bundle()
    repository.sign("demo", "b" * 64, 10, terms(2))
    second = repository.bundle()
    behind = verify(pin(first.roots[0]), first, "demo", now_s).state
    state = verify(behind, second, "demo", now_s).state
    return Fleet(repository, first, second, state, now_s, behind)


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fleet, Path]:
    directory = tmp_path_factory.mktemp("master")
    return make_fleet(directory), directory


@pytest.fixture
def fleet(master: tuple[Fleet, Path], tmp_path: Path) -> Fleet:
    # A copy of its own: making keys and syncing them costs a hundred times as much.
    made, directory = master
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    repository = Repository(tmp_path, tmp_path / "keys", "", lambda: made.now_s)
    return replace(made, repository=repository)


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return make_fleet(tmp_path_factory.mktemp("strange"))


def other_fleet(fleet: Fleet, tmp_path: Path) -> ReleaseBundle:
    return make_fleet(tmp_path / "other").second


def test_what_is_signed_is_accepted_again_and_again(fleet: Fleet) -> None:
    verified = verify(fleet.state, fleet.second, "demo", fleet.now_s)
    assert (verified.digest, verified.terms, verified.size_bytes) == ("b" * 64, terms(2), 10)
    assert verified.state.floor == fleet.state.floor
    assert fleet.accept(fleet.repository.bundle()).floor.roles[0].version > fleet.state.floor.roles[0].version


@pytest.mark.parametrize("role", ROLES)
def test_an_older_file_of_one_role_is_refused(fleet: Fleet, role: str) -> None:
    # The old timestamp with old files would be the state that a device behind has already.
    state = fleet.state if role == "timestamp" else fleet.behind
    with pytest.raises(AccessDeniedError):
        verify(state, replace(fleet.second, **{role: getattr(fleet.first, role)}), "demo", fleet.now_s)


def test_the_whole_older_bundle_is_refused(fleet: Fleet) -> None:
    with pytest.raises(AccessDeniedError):
        fleet.accept(fleet.first)


@pytest.mark.parametrize("role", ROLES)
def test_a_zeroed_cache_does_not_bring_the_old_back(fleet: Fleet, role: str) -> None:
    """python-tuf alone would take it for a first use; the floor does not."""
    lost = replace(fleet.state.metadata, timestamp="", snapshot="", targets="")
    lost = replace(lost, **{role: getattr(fleet.state.metadata, role)}) if role == "targets" else lost
    with pytest.raises(AccessDeniedError, match="below"):
        verify(replace(fleet.state, metadata=lost), fleet.first, "demo", fleet.now_s)


@pytest.mark.parametrize("name", ["floor.json", "metadata.json"])
@pytest.mark.parametrize("damage", ["zeroed", "removed", "cut", "changed"])
def test_a_lost_trust_state_is_told_and_never_a_first_use(
    fleet: Fleet, tmp_path: Path, name: str, damage: str
) -> None:
    files = TrustFiles(OsFileSystem(), tmp_path / "state")
    files.write(fleet.state)
    path = tmp_path / "state" / name
    data = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes({"zeroed": b"", "cut": data[:-9], "changed": data.replace(b"1", b"2", 1)}[damage])
    with pytest.raises(CorruptDataError, match="TRUST_STATE_LOST"):
        files.read()


@pytest.mark.parametrize("years", [-10, -1, 1, 10])
def test_a_wrong_clock_accepts_nothing(fleet: Fleet, years: int) -> None:
    expected = "CLOCK_UNTRUSTED" if years < 0 else "expired"
    with pytest.raises(EdgeloopError, match=expected):
        fleet.accept(fleet.repository.bundle(), fleet.now_s + years * YEAR_S)


def test_a_clock_that_was_never_set_is_found_out_by_the_first_bundle(fleet: Fleet) -> None:
    with pytest.raises(StateError, match="CLOCK_UNTRUSTED"):
        verify(pin(fleet.first.roots[0]), fleet.first, "demo", 0.0)


def test_a_frozen_bundle_expires(fleet: Fleet) -> None:
    fleet.accept(fleet.second, fleet.now_s + 6 * 86_400)
    with pytest.raises(AccessDeniedError, match="expired"):
        fleet.accept(fleet.second, fleet.now_s + 8 * 86_400)


@pytest.mark.parametrize("role", [*ROLES, "all"])
def test_what_another_fleet_signed_is_refused(fleet: Fleet, tmp_path: Path, role: str) -> None:
    other = other_fleet(fleet, tmp_path)
    mixed = other if role == "all" else replace(fleet.second, **{role: getattr(other, role)})
    with pytest.raises(AccessDeniedError):
        verify(fleet.behind, mixed, "demo", fleet.now_s)


SEVERAL = [roles for count in (1, 2, 3) for roles in combinations(ROLES, count)]


def with_roles(bundle: ReleaseBundle, other: ReleaseBundle, roles: tuple[str, ...]) -> ReleaseBundle:
    return replace(bundle, **{role: getattr(other, role) for role in roles})


@pytest.mark.parametrize("roles", SEVERAL, ids="+".join)
def test_files_of_two_fleets_make_no_bundle(fleet: Fleet, strange: Fleet, roles: tuple[str, ...]) -> None:
    with pytest.raises(AccessDeniedError):
        verify(fleet.behind, with_roles(fleet.second, strange.second, roles), "demo", fleet.now_s)
    # Its own root does not help: the device follows a root only from the one that it has.
    forged = replace(with_roles(fleet.second, strange.second, roles), roots=strange.second.roots)
    with pytest.raises(AccessDeniedError):
        verify(fleet.behind, forged, "demo", fleet.now_s)


@pytest.mark.parametrize("roles", SEVERAL, ids="+".join)
def test_files_of_two_times_make_no_bundle(fleet: Fleet, roles: tuple[str, ...]) -> None:
    # The old timestamp with old files would be the state that a device behind has already.
    state = fleet.state if "timestamp" in roles else fleet.behind
    with pytest.raises(AccessDeniedError):
        verify(state, with_roles(fleet.second, fleet.first, roles), "demo", fleet.now_s)


@pytest.mark.parametrize(("place", "found"), list(permutations(ROLES, 2)))
def test_a_file_in_the_place_of_another_is_refused(fleet: Fleet, place: str, found: str) -> None:
    with pytest.raises(AccessDeniedError):
        verify(
            fleet.behind,
            replace(fleet.second, **{place: getattr(fleet.second, found)}),
            "demo",
            fleet.now_s,
        )


@pytest.mark.parametrize("role", [*ROLES, "root"])
@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "0", '{"signed": {}, "signatures": []}', "\x00", "{" * 9999]
)
def test_what_is_no_metadata_is_refused(fleet: Fleet, role: str, text: str) -> None:
    changed = {"roots": (*fleet.second.roots, text)} if role == "root" else {role: text}
    with pytest.raises(EdgeloopError):
        verify(fleet.behind, replace(fleet.second, **changed), "demo", fleet.now_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("later_s", [YEAR_S, 10 * YEAR_S, 50 * YEAR_S])
def test_an_expiry_that_was_written_later_is_refused(fleet: Fleet, role: str, later_s: int) -> None:
    tree = json.loads(getattr(fleet.second, role))
    year = int(tree["signed"]["expires"][:4]) + later_s // YEAR_S
    tree["signed"]["expires"] = f"{year}{tree['signed']['expires'][4:]}"
    with pytest.raises(AccessDeniedError):
        verify(fleet.behind, replace(fleet.second, **{role: json.dumps(tree)}), "demo", fleet.now_s)


@pytest.mark.parametrize("role", [*ROLES, "root"])
def test_new_keys_are_followed_and_old_ones_refused(fleet: Fleet, role: str) -> None:
    fleet.repository.rotate(role)
    fleet.state = fleet.accept(fleet.repository.bundle())
    assert fleet.state.floor.root_version == 2
    with pytest.raises(AccessDeniedError):
        fleet.accept(fleet.second)
    fleet.repository.sign("demo", "c" * 64, 10, terms(3))
    assert verify(fleet.state, fleet.repository.bundle(), "demo", fleet.now_s).digest == "c" * 64


def test_a_root_that_only_the_new_keys_signed_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    other = make_fleet(tmp_path / "other")
    other.repository.rotate("root")
    forged = other.repository.bundle()
    with pytest.raises(AccessDeniedError):
        fleet.accept(replace(forged, roots=(fleet.first.roots[0], forged.roots[1])))


def test_high_numbers_of_a_stolen_key_end_with_the_key(fleet: Fleet) -> None:
    """Fast-forward: versions far ahead hold nobody up once the keys are replaced."""
    for _ in range(20):
        ahead = fleet.repository.bundle()
    fleet.state = fleet.accept(ahead)
    fleet.repository.rotate("snapshot")
    fleet.repository.rotate("timestamp")
    floors = {entry.role: entry for entry in fleet.state.floor.roles}
    after = fleet.accept(fleet.repository.bundle())
    assert all(
        entry.keys != floors[entry.role].keys for entry in after.floor.roles if entry.role != "targets"
    )


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [1 << 20, 1 << 22])
def test_an_oversized_file_is_refused(fleet: Fleet, role: str, size: int) -> None:
    with pytest.raises(AccessDeniedError, match="at most"):
        fleet.accept(replace(fleet.second, **{role: getattr(fleet.second, role) + " " * size}))


def test_too_many_roots_and_none_are_refused(fleet: Fleet) -> None:
    for roots in ((), fleet.second.roots * 65):
        with pytest.raises(AccessDeniedError, match="roots"):
            fleet.accept(replace(fleet.second, roots=roots))


def test_an_older_artifact_comes_back_only_under_a_new_counter(fleet: Fleet) -> None:
    fleet.repository.sign("demo", "a" * 64, 10, terms(3))
    verified = verify(fleet.state, fleet.repository.bundle(), "demo", fleet.now_s)
    assert (verified.digest, verified.terms.counter) == ("a" * 64, 3)


def _signed_by_the_release_key(fleet: Fleet, tmp_path: Path, counter: int) -> ReleaseBundle:
    """Let the release key itself sign a counter that does not rise, under a newer version of its metadata."""
    forger = Repository(tmp_path, tmp_path / "keys", "", lambda: fleet.now_s)
    path = tmp_path / "targets.json"
    tree = json.loads(path.read_text())
    tree["signed"]["targets"]["demo"]["custom"]["counter"] = 0 if counter > 1 else counter
    del tree["signed"]["targets"]["demo"]
    path.write_text(json.dumps(tree))
    forger.sign("demo", "c" * 64, 10, terms(counter))
    return forger.bundle()


@pytest.mark.parametrize("counter", [1, 2])
def test_a_counter_that_does_not_rise_is_refused(fleet: Fleet, tmp_path: Path, counter: int) -> None:
    with pytest.raises(AccessDeniedError, match="counter"):
        fleet.accept(_signed_by_the_release_key(fleet, tmp_path, counter))


@pytest.mark.parametrize("name", ["other", "Demo", "demo2", ""])
def test_an_unsigned_name_is_refused(fleet: Fleet, name: str) -> None:
    with pytest.raises(AccessDeniedError):
        verify(fleet.state, fleet.second, name, fleet.now_s)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"devices": ("other",)}, "for the devices"),
        ({"architectures": ("aarch64",)}, "for the architectures"),
        ({"runtime": "openvino"}, "needs openvino"),
        ({"format": "tflite"}, "for tflite"),
        ({"runtime_version_min": "1.21"}, "from 1.21"),
        ({"runtime_version_below": "1.20"}, "below 1.20"),
    ],
)
def test_a_release_for_another_device_is_refused(change: dict[str, object], match: str) -> None:
    check_device(terms(1), FACTS)
    with pytest.raises(EdgeloopError, match=match):
        check_device(dataclasses.replace(terms(1), **change), FACTS)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("seed", range(10))
def test_a_changed_bundle_is_refused(fleet: Fleet, role: str, seed: int) -> None:
    draw = random.Random(f"{role}/{seed}")
    text = getattr(fleet.second, role)
    for mutate in mutations(text):
        changed = mutate(draw)
        if json_equal(changed, text):
            continue
        with pytest.raises(EdgeloopError):
            verify(fleet.behind, replace(fleet.second, **{role: changed}), "demo", fleet.now_s)
