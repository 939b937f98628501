from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from edgeloop.store.tags import TagStore, check_tag
from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError

A, B = "a" * 64, "b" * 64


def test_a_tag_moves_and_goes(tmp_path: Path) -> None:
    store = TagStore(tmp_path)
    assert store.all() == {}
    assert store.put("prod", A) == ""
    assert store.put("prod", B) == A
    assert TagStore(tmp_path).all() == {"prod": B}
    assert store.remove("prod") == B
    with pytest.raises(NotFoundError, match="no artifact has the tag 'prod'"):
        store.remove("prod")


@pytest.mark.parametrize("tag", ["", "Prod", "a b", "-x", "x-", "<b>", "a" * 64, "deadbeef", "a/b"])
def test_what_a_selector_or_a_digest_could_be_mistaken_for_is_no_tag(tag: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be a tag"):
        check_tag(tag)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    TagStore(tmp_path).put("prod", A)
    (tmp_path / "models" / "tags.json").write_text('{"prod": "x"}')
    with pytest.raises(CorruptDataError, match="does not hold tags"):
        TagStore(tmp_path).all()


def test_tags_set_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: TagStore(tmp_path).put(f"tag-{number}", A), range(20)))
    assert len(TagStore(tmp_path).all()) == 20
