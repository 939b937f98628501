"""The pytest plugin: a ``device`` fixture, options, and a summary for people and build servers.

Registered under ``pytest11``, so it is imported by every pytest of an environment that has edgeloop: it costs this
one file then. Everything else is imported when a test asks for ``device``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edgeloop.interfaces.gate.device import Device

__all__ = [
    "device",
    "edgeloop_device",
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
]

_SESSION = "edgeloop-session"
_PROPERTY = "edgeloop"

_OPTIONS = (
    (
        "on",
        "DEVICES",
        "Devices to test on: local, sim:PROFILE, unix:PATH, grpc://HOST:PORT, names, or conditions that must all "
        "hold, like arch=aarch64,ram>=4GB; comma list.",
    ),
    ("budgets", "FILE", "Reviewed budgets; default edgeloop-budgets.toml."),
    ("baseline", "FILE", "Reviewed baselines; default edgeloop-baseline.json."),
    ("summary", "FILE", "Append a Markdown summary; $GITHUB_STEP_SUMMARY is appended to as well."),
    ("series", "SERIES", "nominal (the device must be fit) or as_deployed (the default)."),
    ("home", "DIRECTORY", "Records and artifacts; default $EDGELOOP_HOME or .edgeloop."),
    ("lease-wait", "TIME", "How long to wait for a busy device; default 10m."),
    ("rounds", "N", "Fresh processes per measurement."),
    ("samples", "N", "Least samples per measurement."),
    ("seed", "N", "Seed of everything random; default 0."),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; each is an ini value of the same name with underscores too."""
    group = parser.getgroup("edgeloop", "measurements on devices")
    for name, shape, text in _OPTIONS:
        field = f"edgeloop_{name.replace('-', '_')}"
        group.addoption(f"--edgeloop-{name}", dest=field, metavar=shape, default=None, help=text)
        parser.addini(field, text, default="")
    text = "Let predicted figures decide absolute budgets; they are marked as predicted all the same."
    group.addoption(
        "--edgeloop-allow-predicted", dest="edgeloop_allow_predicted", action="store_true", help=text
    )
    parser.addini("edgeloop_allow_predicted", text, type="bool", default=False)
    group.addoption(
        "--edgeloop-update-baseline",
        dest="edgeloop_update_baseline",
        action="store_true",
        help="Record baselines instead of holding against them.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the reports of the tests, where the summary is written."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Summary(config), "edgeloop-summary")


def _words(config: pytest.Config) -> list[str]:
    text = config.getoption("edgeloop_on") or config.getini("edgeloop_on")
    words = [word.strip() for word in str(text or "").replace("\n", ",").split(",") if word.strip()]
    return (
        _without_conditions(config, words) if any(sign in word for word in words for sign in "=<>") else words
    )


def _without_conditions(config: pytest.Config, words: list[str]) -> list[str]:
    """Return the words with the names of the devices that meet the conditions among them in their place."""
    from edgeloop_foundation.errors import EdgeloopError

    from edgeloop.domain.selector import looks_like_condition

    conditions = [word for word in words if looks_like_condition(word)]
    if not conditions:
        return words
    from edgeloop.interfaces.gate.chosen import names_of_chosen

    try:
        chosen = names_of_chosen(config, conditions)
    except EdgeloopError as error:
        raise pytest.UsageError(f"edgeloop: {error}") from None
    others = [word for word in words if word not in conditions]
    return others + [name for name in chosen if name not in others]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test that uses ``device`` once on each device."""
    if "edgeloop_device" in metafunc.fixturenames:
        words = _words(metafunc.config) or [""]
        names = [word.partition("=")[0] if "=" in word else word for word in words]
        if len(set(names)) < len(names):
            raise pytest.UsageError(
                f"edgeloop: two devices have one name among {', '.join(names)}; name them apart."
            )
        metafunc.parametrize(
            "edgeloop_device", words, indirect=True, scope="session", ids=[n or "no-device" for n in names]
        )


@pytest.fixture(scope="session")
def edgeloop_device(request: pytest.FixtureRequest) -> Device:
    """The device behind ``device``; a project may define a ``device`` of its own beside it."""
    __tracebackhide__ = True
    if not request.param:
        pytest.fail(
            "edgeloop: no device is named. Say where to test, for example --edgeloop-on local.", pytrace=False
        )
    from edgeloop_foundation.errors import EdgeloopError

    failure = ""
    try:
        found = _session_device(request.config, request.param)
    except EdgeloopError as error:
        failure = f"edgeloop: {error}"
    if failure:
        pytest.fail(failure, pytrace=False)
    return found


def _session_device(config: pytest.Config, word: str) -> Device:
    from edgeloop.interfaces.gate.device import GateSession

    session = config.pluginmanager.getplugin(_SESSION)
    if session is None:
        session = GateSession(config)
        config.pluginmanager.register(session, _SESSION)
    assert isinstance(session, GateSession)
    return session.device(word)


@pytest.fixture(scope="session")
def device(edgeloop_device: Device) -> Device:
    """A device to measure on, from ``--edgeloop-on``; see its methods ``measure`` and ``assert_budgets``."""
    return edgeloop_device


class _Summary:
    """Collects what tests recorded; under xdist it hears the reports of every worker."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._properties: list[tuple[str, object]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a test recorded."""
        if report.when == "call" or (report.when == "setup" and report.failed):
            self._properties.extend(p for p in report.user_properties if p[0] == _PROPERTY)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say at the end what was decided, and on what kind of figures."""
        if not self._properties:
            return
        from edgeloop.interfaces.gate.record import rows_of, terminal_lines

        terminalreporter.section("edgeloop")
        for line in terminal_lines(rows_of(self._properties)):
            terminalreporter.write_line(line)

    def pytest_sessionfinish(self) -> None:
        """Write the Markdown summary, also when the session was interrupted."""
        if not self._properties:
            return
        from edgeloop.interfaces.gate.record import markdown, rows_of

        named = self._config.getoption("edgeloop_summary") or self._config.getini("edgeloop_summary")
        files = [Path(self._config.rootpath, str(named))] if named else []
        if os.environ.get("GITHUB_STEP_SUMMARY"):
            files.append(Path(os.environ["GITHUB_STEP_SUMMARY"]))
        for path in files:
            with path.open("a", encoding="utf-8") as file:
                file.write(markdown(rows_of(self._properties)))
