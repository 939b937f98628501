"""Templates of the pages, and what every page has: caller, word against forged requests, files beside it."""

from __future__ import annotations

import time
from functools import lru_cache
from importlib import resources
from typing import Any

from edgeloop_foundation.errors import EdgeloopError, MissingDependencyError, NotFoundError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from edgeloop import __version__
from edgeloop.domain.inventory import age_words
from edgeloop.domain.plain_text import plain_text
from edgeloop.interfaces.web.access import Access, Caller, Role
from edgeloop.orchestrate.daemon import Daemon
from edgeloop.report.units import amount, duration, moment

__all__ = ["Pages", "asset"]

_TYPES = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
_OF_THE_REPORT = {"report.css": "style.css", "report.js": "script.js"}


class Pages:
    """Renders the pages of one daemon."""

    def __init__(self, daemon: Daemon, access: Access) -> None:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

        self._daemon, self._access = daemon, access
        self._environment = Environment(
            loader=ChoiceLoader(
                [
                    PackageLoader("edgeloop.interfaces.web", "templates"),
                    PackageLoader("edgeloop.report", "templates"),
                ]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            plain=plain_text,
            moment=moment,
            duration=duration,
            amount=amount,
            words=lambda text: str(text).replace("_", " "),
            ago=lambda then_s: age_words(max(0.0, time.time() - then_s)),
        )

    def show(self, request: Request, template: str, /, status: int = 200, **context: Any) -> Response:
        """Return a page."""
        caller: Caller | None = request.state.caller
        text = self._environment.get_template(template).render(
            **context,
            version=__version__,
            path=request.url.path,
            role=caller.role.value if caller else "",
            may_change=caller is not None and caller.role is Role.OPERATOR,
            csrf=self._access.csrf(caller) if caller else "",
        )
        return HTMLResponse(text, status_code=status)

    def error(self, request: Request, error: EdgeloopError, status: int) -> Response:
        """Return the page that tells an error."""
        return self.show(request, "error.html", status, message=error.message, next_step=error.next_step)


@lru_cache(maxsize=32)
def _content(name: str) -> bytes:
    if name == "plotly.js":
        try:
            from plotly.offline import get_plotlyjs
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "charts of experiments need plotly.", next_step='Install "edgeloop[controller]".'
            ) from error
        return str(get_plotlyjs()).encode()
    if name in _OF_THE_REPORT:
        from edgeloop.report.page import asset as of_the_report

        return of_the_report(_OF_THE_REPORT[name]).encode()
    folder = resources.files("edgeloop.interfaces.web").joinpath("static")
    if name not in {entry.name for entry in folder.iterdir()}:
        raise NotFoundError(f"there is no file {name[:80]!r}.")
    return folder.joinpath(name).read_bytes()


def asset(name: str) -> Response:
    """Return a file that pages load; it is the same as long as the version in its address is.

    Raises:
        NotFoundError: there is none of that name.
        MissingDependencyError: it comes with a package that is not installed.
    """
    headers = {"cache-control": "private, max-age=3600"}
    return Response(
        _content(name),
        media_type=_TYPES.get(name.rpartition(".")[2], "application/octet-stream"),
        headers=headers,
    )
