"""The notebooks of examples/ as they stand in the repository; scripts/heavy/documentation executes them."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from scripts.docs_site.blocks import DOCS, ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict[str, object]]:
    return [
        cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind
    ]


def test_there_are_two_and_a_page_tells_of_them() -> None:
    page = (DOCS / "how-to" / "notebooks.md").read_text(encoding="utf-8")
    assert [path.name for path in NOTEBOOKS] == ["choose_a_strategy.ipynb", "compare_two_forms.ipynb"]
    assert all(f"`{path.name}`" in page for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_the_code_is_whole(path: Path) -> None:
    code = cells(path, "code")
    assert len(code) >= 4
    assert len(cells(path, "markdown")) >= 4
    assert [cell["outputs"] or cell["execution_count"] for cell in code] == [None] * len(code)
    sources = ["".join(cell["source"]) for cell in code]  # type: ignore[arg-type]
    ast.parse("\n".join(sources))
    assert "local" not in "\n".join(sources), "simulated boards only"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_of_the_format_that_jupyter_reads(path: Path) -> None:
    tree = json.loads(path.read_text(encoding="utf-8"))
    assert (tree["nbformat"], tree["nbformat_minor"]) == (4, 5)
    assert tree["metadata"]["kernelspec"]["name"] == "python3"
    identifiers = [cell["id"] for cell in tree["cells"]]
    assert len(set(identifiers)) == len(identifiers)
