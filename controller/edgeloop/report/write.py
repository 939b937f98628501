"""Renders a result in any of the formats, and writes the report's directory."""

from __future__ import annotations

import json
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.convert import to_json

from edgeloop.domain.experiment import ExperimentResult
from edgeloop.report.figures import Samples

__all__ = ["FORMATS", "render", "write_report"]

FORMATS = ("html", "markdown", "json", "csv", "junit")
"""Formats that ``render`` knows."""

_FILES = {"result.json": "json", "report.md": "markdown", "index.html": "html"}


def render(result: ExperimentResult, format: str, samples: Samples | None = None) -> str:
    """Return a result as text.

    Args:
        result: the experiment.
        format: one of ``FORMATS``.
        samples: gives a raw samples blob by its digest; without it, latency charts show quantiles.

    Raises:
        InvalidInputError: no such format.
        MissingDependencyError: the format needs a package that is not installed.
    """
    if format == "html":
        from edgeloop.report.page import page

        return page(result, samples)
    if format == "markdown":
        from edgeloop.report.markdown import markdown

        return markdown(result)
    if format == "json":
        return json.dumps(to_json(result), indent=2, ensure_ascii=False) + "\n"
    if format in ("csv", "junit"):
        from edgeloop.report.tables import csv_table, junit

        return csv_table(result) if format == "csv" else junit(result)
    raise InvalidInputError(f"unknown report format {format!r}; known are {', '.join(FORMATS)}.")


def write_report(result: ExperimentResult, directory: Path, samples: Samples | None = None) -> Path:
    """Write index.html, report.md and result.json into ``directory`` and return the path of index.html.

    Raises:
        MissingDependencyError: a package for the HTML is not installed.
        OSError: the directory can not be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, format in _FILES.items():
        (directory / name).write_text(render(result, format, samples), encoding="utf-8")
    return directory / "index.html"
