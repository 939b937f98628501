"""The registry: built-in first, plug-ins beside, missing packages named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from edgeloop_foundation.errors import MissingDependencyError, NotFoundError
from edgeloop_foundation.registry import Registry


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path with a plug-in package and room for modules."""
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[edgeloop.tests]\nours = edgeloop_test_plugin:Impostor\nextra = edgeloop_test_plugin:Extra\n"
    )
    (tmp_path / "edgeloop_test_plugin.py").write_text("class Extra: ...\nclass Impostor: ...\n")
    (tmp_path / "edgeloop_test_needy.py").write_text("import no_such_package.inside\nclass Needy: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("edgeloop_test_plugin", "edgeloop_test_needy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.fixture
def registry() -> Registry[object]:
    return Registry(
        "tests",
        {"ours": "fractions:Fraction", "needy": "edgeloop_test_needy:Needy", "gone": "fractions:Gone"},
    )


def test_names_are_built_in_first(installed: Path, registry: Registry[object]) -> None:
    assert registry.names() == ("ours", "needy", "gone", "extra")


def test_a_built_in_is_loaded_when_asked_for(registry: Registry[object]) -> None:
    from fractions import Fraction

    assert registry.load("ours") is Fraction


def test_a_plug_in_is_found_but_replaces_nothing(installed: Path, registry: Registry[object]) -> None:
    from fractions import Fraction

    assert registry.load("extra").__name__ == "Extra"
    assert registry.load("ours") is Fraction


def test_an_unknown_name_lists_the_known_ones(registry: Registry[object]) -> None:
    with pytest.raises(NotFoundError, match=r"unknown tests 'other'; known are ours, needy, gone"):
        registry.load("other")


def test_a_missing_package_is_named_with_the_way_to_get_it(
    installed: Path, registry: Registry[object]
) -> None:
    with pytest.raises(MissingDependencyError, match="'needy' needs the package 'no_such_package'") as caught:
        registry.load("needy")
    assert caught.value.next_step.endswith("pip install no_such_package")


def test_a_table_that_names_no_class_is_our_own_fault(registry: Registry[object]) -> None:
    with pytest.raises(AttributeError):
        registry.load("gone")
