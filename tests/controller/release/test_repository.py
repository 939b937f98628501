"""Releases made, added to and renewed: which keys sign what, and what is refused before anything changes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeloop.release.repository import ROLES, SIGNED_FIELD, Repository
from edgeloop_foundation.errors import AlreadyExistsError, CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_protocol.types.artifact import FileEntry
from edgeloop_protocol.types.deployment import ReleaseBundle, ReleaseTerms
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root

GOLDEN = FileEntry(name="golden.npz", digest="1" * 64, size_bytes=3)
NOW_S = 1_800_000_000.0
DAY_S = 86_400


def terms(counter: int) -> ReleaseTerms:
    return ReleaseTerms(counter=counter, format="onnx", files=(GOLDEN,), golden_digest=GOLDEN.digest)


def place(directory: Path, passphrase: str = "", now: Callable[[], float] = lambda: NOW_S) -> Repository:
    return Repository(directory / "release", directory / "stick", passphrase, now)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = place(tmp_path)
    made.create()
    return made


def signed(text: str) -> Any:
    return json.loads(text)["signed"]


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def check_signatures(bundle: ReleaseBundle) -> None:
    """Hold every role against the newest root, and every root against itself and the one before.

    Raises:
        UnsignedMetadataError: signatures are missing.
    """
    roots = [Metadata[Root].from_bytes(text.encode()) for text in bundle.roots]
    for before, after in zip([roots[0], *roots], roots, strict=False):
        before.verify_delegate("root", after)
        after.verify_delegate("root", after)
    for role in ROLES[1:]:
        roots[-1].verify_delegate(role, Metadata.from_bytes(getattr(bundle, role).encode()))


def test_a_new_repository_has_five_keys_in_two_places(repository: Repository, tmp_path: Path) -> None:
    assert {path.stem for path in (tmp_path / "stick").iterdir()} == {"root-1", "root-2", "targets"}
    assert {path.stem for path in (tmp_path / "release" / "online").iterdir()} == {"snapshot", "timestamp"}
    bundle = repository.bundle()
    check_signatures(bundle)
    root = signed(bundle.roots[0])
    assert {role: (len(held["keyids"]), held["threshold"]) for role, held in root["roles"].items()} == {
        "root": (2, 2), "targets": (1, 1), "snapshot": (1, 1), "timestamp": (1, 1),
    }  # fmt: skip
    assert len(root["keys"]) == 5
    assert repository.releases() == ()


def test_a_repository_is_made_once(repository: Repository, tmp_path: Path) -> None:
    before = files_of(tmp_path)
    with pytest.raises(AlreadyExistsError, match="holds releases already"):
        place(tmp_path).create()
    assert files_of(tmp_path) == before


def test_without_a_repository_the_way_to_one_is_named(tmp_path: Path) -> None:
    for question in (Repository.fingerprint, Repository.releases, Repository.bundle):
        with pytest.raises(NotFoundError, match="edgeloop release init"):
            question(place(tmp_path))
    assert files_of(tmp_path) == {}


def test_what_was_signed_is_listed_and_its_counter_rises(repository: Repository) -> None:
    repository.sign("eyes", "b" * 64, 20, terms(1))
    repository.sign("demo", "a" * 64, 10, terms(1))
    repository.sign("demo", "c" * 64, 30, dataclasses.replace(terms(2), devices=("pi",)))
    assert repository.releases() == (
        ("demo", "c" * 64, dataclasses.replace(terms(2), devices=("pi",))),
        ("eyes", "b" * 64, terms(1)),
    )
    assert (repository.next_counter("demo"), repository.next_counter("other")) == (3, 1)
    check_signatures(repository.bundle())


@pytest.mark.parametrize(
    ("name", "counter", "sentence"), [("demo", 1, "does not rise"), ("../up", 1, "not possible")]
)
def test_a_refused_release_changes_nothing(
    repository: Repository, tmp_path: Path, name: str, counter: int, sentence: str
) -> None:
    repository.sign("demo", "a" * 64, 10, terms(1))
    before = files_of(tmp_path)
    with pytest.raises(InvalidInputError, match=sentence):
        repository.sign(name, "b" * 64, 10, terms(counter))
    assert files_of(tmp_path) == before


def test_without_the_release_key_there_is_a_bundle_but_no_release(
    repository: Repository, tmp_path: Path
) -> None:
    """The controller alone keeps what was decided fresh and decides nothing."""
    repository.sign("demo", "a" * 64, 10, terms(1))
    (tmp_path / "stick").rename(tmp_path / "drawer")
    targets = repository.bundle().targets
    with pytest.raises(NotFoundError, match="--keys"):
        repository.sign("demo", "b" * 64, 10, terms(2))
    with pytest.raises(NotFoundError, match="--keys"):
        repository.rotate("targets")
    assert repository.bundle().targets == targets


def test_a_locked_release_key_wants_its_passphrase(tmp_path: Path) -> None:
    place(tmp_path, "right").create()
    with pytest.raises(InvalidInputError, match="cannot be opened"):
        place(tmp_path, "wrong").sign("demo", "a" * 64, 10, terms(1))
    place(tmp_path, "right").sign("demo", "a" * 64, 10, terms(1))
    check_signatures(place(tmp_path, "wrong").bundle())


def test_every_bundle_says_when_it_was_made_and_lives_a_week(tmp_path: Path) -> None:
    place(tmp_path).create()
    first = place(tmp_path).bundle()
    later = place(tmp_path, now=lambda: NOW_S + 3 * DAY_S).bundle()
    old, new = signed(first.timestamp), signed(later.timestamp)
    assert new[SIGNED_FIELD] - old[SIGNED_FIELD] == 3 * DAY_S
    assert (old["expires"], new["expires"]) == ("2027-01-22T08:00:00Z", "2027-01-25T08:00:00Z")
    assert new["version"] > old["version"]
    assert new["meta"]["snapshot.json"]["version"] == signed(later.snapshot)["version"]
    assert later.targets == first.targets


@pytest.mark.parametrize("role", ROLES)
def test_new_keys_of_a_role_replace_the_old_ones_again_and_again(repository: Repository, role: str) -> None:
    repository.sign("demo", "a" * 64, 10, terms(1))
    before = repository.bundle()
    assert [repository.rotate(role), repository.rotate(role)] == [2, 3]
    repository.sign("demo", "b" * 64, 10, terms(2))
    after = repository.bundle()
    check_signatures(after)
    held = [set(signed(root)["roles"][role]["keyids"]) for root in after.roots]
    assert len(set().union(*held)) == sum(map(len, held))
    for other in set(ROLES) - {role}:
        assert len({tuple(signed(root)["roles"][other]["keyids"]) for root in after.roots}) == 1
    if role != "root":
        with pytest.raises(UnsignedMetadataError):
            check_signatures(dataclasses.replace(after, **{role: getattr(before, role)}))


def test_rotations_of_several_roles_find_their_keys(repository: Repository) -> None:
    for role in ("snapshot", "root", "targets", "timestamp", "root"):
        repository.rotate(role)
    repository.sign("demo", "a" * 64, 10, terms(1))
    bundle = repository.bundle()
    check_signatures(bundle)
    assert len(bundle.roots) == 6


def test_only_roles_have_keys(repository: Repository, tmp_path: Path) -> None:
    before = files_of(tmp_path)
    with pytest.raises(InvalidInputError, match="no role 'mirror'; there are root, targets"):
        repository.rotate("mirror")
    assert files_of(tmp_path) == before


def test_the_fingerprint_stays_when_the_root_is_replaced(repository: Repository) -> None:
    before = repository.fingerprint()
    repository.rotate("root")
    assert repository.fingerprint() == before


def test_damaged_metadata_is_named(repository: Repository, tmp_path: Path) -> None:
    path = tmp_path / "release" / "targets.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptDataError, match=r"targets\.json cannot be read"):
        repository.releases()


def test_an_interrupted_beginning_goes_on_with_its_own_keys_and_never_with_others(tmp_path: Path) -> None:
    whole = place(tmp_path / "whole")
    whole.create()
    # In the order in which they are made, each of them the last that a cut left.
    names = "stick/root-1.pem stick/root-2.pem stick/targets.pem release/online/snapshot.pem"
    names += " release/online/timestamp.pem release/1.root.json release/targets.json release/snapshot.json"
    written = [tmp_path / "whole" / name for name in names.split()]
    last = tmp_path / "whole" / "release" / "timestamp.json"
    assert {p for p in (tmp_path / "whole").rglob("*") if p.is_file()} == {*written, last}
    for count in range(len(written) + 1):
        cut = tmp_path / str(count)
        for path in (tmp_path / "whole" / "release" / "init.begun", *written[:count]):
            target = cut / path.relative_to(tmp_path / "whole")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target) if path.exists() else target.write_text("")
        made = place(cut)
        made.create()
        made.sign("demo", "a" * 64, 10, terms(1))
        assert [name for name, _, _ in made.releases()] == ["demo"]
        for path in written[:count]:
            assert (
                path.suffix != ".pem"
                or (cut / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
            )
        with pytest.raises(AlreadyExistsError, match="holds releases already"):
            made.create()
    shutil.rmtree(tmp_path / "whole" / "release")
    with pytest.raises(AlreadyExistsError, match=r"root-1\.pem exists already"):
        whole.create()
