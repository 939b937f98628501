from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from edgeloop.compress import passes
from edgeloop.compress.passes import BUILTIN, REGISTRY, make_pass
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InvalidInputError, NotFoundError


def test_files_table_and_names_agree():
    room = Path(inspect.getfile(passes)).parent
    shared = {"__init__", "base", "conditions", "settings"}
    assert {p.stem for p in room.glob("*.py")} - shared == set(BUILTIN)
    for name in BUILTIN:
        driver = REGISTRY.load(name)
        assert driver.name == name
        assert driver.title
        assert all(condition.text for condition in driver.requires)


def test_settings_are_checked():
    with pytest.raises(NotFoundError, match="unknown passes 'shrink'; known are code_tables, convert_fp16, "):
        make_pass(PassSpec.of("shrink"))
    with pytest.raises(InvalidInputError, match="no setting 'bits'; it has encoding"):
        make_pass(PassSpec.of("quantize_static", bits=8))
    with pytest.raises(InvalidInputError, match="encoding is U8S8, S8S8, U8U8, not 'S8U8'"):
        make_pass(PassSpec.of("quantize_static", encoding="S8U8"))
    with pytest.raises(InvalidInputError, match="per_channel is bool, not 'yes'"):
        make_pass(PassSpec.of("quantize_static", per_channel="yes"))
    with pytest.raises(InvalidInputError, match="exclude is a list"):
        make_pass(PassSpec.of("quantize_static", exclude="first"))
    with pytest.raises(InvalidInputError, match="level is basic, extended, not 'all'"):
        make_pass(PassSpec.of("optimize_graph", level="all"))
    assert make_pass(PassSpec.of("quantize_static", percentile=99)).settings.percentile == 99.0
