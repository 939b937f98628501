"""The HTML report: one file that opens anywhere, without network."""

from __future__ import annotations

from importlib import resources
from typing import Any

from edgeloop_foundation.errors import MissingDependencyError

from edgeloop.domain.experiment import ExperimentResult
from edgeloop.report.figures import Samples, figures
from edgeloop.report.host import host_tables, provenance
from edgeloop.report.units import duration, moment
from edgeloop.report.view import device_view

__all__ = ["asset", "page", "page_context"]


def page(result: ExperimentResult, samples: Samples | None = None) -> str:
    """Return the report as one HTML document with everything in it.

    Raises:
        MissingDependencyError: jinja2 or plotly is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"the HTML report needs {error.name}.", next_step='Install "edgeloop[controller]".'
        ) from error
    environment = Environment(
        loader=PackageLoader("edgeloop.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        **page_context(result, samples),
        style=asset("style.css"),
        script=asset("script.js"),
        # The library's own text: the only thing in here that is not escaped.
        plotly=get_plotlyjs(),
    )


def asset(name: str) -> str:
    """Return the text of a style or script of the report."""
    return resources.files("edgeloop.report").joinpath("templates", name).read_text(encoding="utf-8")


def page_context(result: ExperimentResult, samples: Samples | None) -> dict[str, Any]:
    """Return what the template of the body shows."""
    devices = []
    for index, device in enumerate(result.devices):
        view = device_view(result, device)
        charts = figures(result, device, view.compared, samples)
        devices.append(
            {
                "key": f"device-{index}",
                "view": view,
                "charts": [
                    {"key": f"chart-{index}-{number}", "figure": chart} for number, chart in enumerate(charts)
                ],
            }
        )
    return {
        "result": result,
        "devices": devices,
        "tables": host_tables(result),
        "provenance": provenance(result),
        "begun": moment(result.created_wall_s),
        "took": duration(result.duration_s),
    }
