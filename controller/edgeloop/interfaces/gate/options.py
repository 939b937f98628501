"""Options of the plugin: command line first, then the ini file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.trial import SERIES, Benchmark

from edgeloop.interfaces.config import CONFIG_NAME, Config, load_config
from edgeloop.interfaces.options import parse_duration_s
from edgeloop.interfaces.settings import measurement

__all__ = ["GateOptions", "read_configuration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """What holds for the whole session."""

    home: Path
    budgets: Path
    baseline: Path
    update_baseline: bool
    allow_predicted: bool
    lease_wait_s: float
    benchmark: Benchmark
    threads: int

    @classmethod
    def of(cls, config: pytest.Config) -> GateOptions:
        """Read the options.

        Raises:
            InvalidInputError: one cannot be used.
        """

        def text(name: str, default: str) -> str:
            return str(config.getoption(name) or config.getini(name) or default)

        root = config.rootpath
        given = read_configuration(root)
        words: dict[str, object] = {"seed": _number("edgeloop_seed", text("edgeloop_seed", "0"))}
        if series := text("edgeloop_series", ""):
            if series not in SERIES:
                raise InvalidInputError(f"edgeloop_series is {' or '.join(SERIES)}, not {series!r}.")
            words["as_deployed"] = series == "as_deployed"
        for name, word in (("edgeloop_rounds", "rounds"), ("edgeloop_samples", "samples")):
            if value := text(name, ""):
                words[word] = _number(name, value)
        allow = config.getoption("edgeloop_allow_predicted") or config.getini("edgeloop_allow_predicted")
        return cls(
            home=root / text("edgeloop_home", os.environ.get("EDGELOOP_HOME", "") or ".edgeloop"),
            budgets=root / text("edgeloop_budgets", "edgeloop-budgets.toml"),
            baseline=root / text("edgeloop_baseline", "edgeloop-baseline.json"),
            update_baseline=bool(config.getoption("edgeloop_update_baseline")),
            allow_predicted=bool(allow),
            lease_wait_s=parse_duration_s(text("edgeloop_lease_wait", "10m")),
            benchmark=measurement(words, given).benchmark,
            threads=given.experiment.threads if given else 1,
        )


def read_configuration(root: Path) -> Config | None:
    """Return the ``edgeloop.toml`` beside the tests; None without one."""
    path = root / CONFIG_NAME
    return load_config(path) if path.exists() else None


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidInputError(f"{name} is a whole number, not {text!r}.") from None
