"""The ``device`` fixture's object, and the session behind all of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.run import Run
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.interfaces.api import Edgeloop
from edgeloop.interfaces.gate.budgets import Budget, device_classes, matching, read_budgets, samples_needed
from edgeloop.interfaces.gate.loop import BackgroundLoop, LogListener
from edgeloop.interfaces.gate.options import GateOptions, read_configuration
from edgeloop.interfaces.gate.record import PROPERTY, Row
from edgeloop.interfaces.gate.result import Result
from edgeloop.interfaces.options import parse_devices, parse_state
from edgeloop.orchestrate.gate import Gated, GateDevice, GateRequest
from edgeloop.orchestrate.regression import RegressionRequest, hold_regression, keep_as_baseline
from edgeloop.select.gate import GateCheck
from edgeloop.store.devices import DeviceBook

__all__ = ["Device", "GateSession"]

T = TypeVar("T")

_PASSED = ("passed", "recorded")


class GateSession:
    """Stores, event loop and devices of one test process; made when the fixture is first used."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.options = GateOptions.of(config)
        self.listener = LogListener(config)
        self.item: pytest.Item | None = None
        self.app = App.open(self.options.home)
        self._loop = BackgroundLoop()
        self._devices: dict[str, Device] = {}

    def device(self, word: str) -> Device:
        """Return the device of a word of ``--edgeloop-on``.

        Raises:
            EdgeloopError: no such form, or it cannot be reached.
        """
        if word not in self._devices:
            configuration = read_configuration(self.config.rootpath)
            added = DeviceBook(self.app.state_directory).devices()
            fleets = Edgeloop(self.options.home).fleet_devices
            specs = parse_devices((word,), configuration, fleets, added)
            if len(specs) != 1:
                raise InvalidInputError(
                    f"{word!r} stands for {len(specs)} boards, and a test runs on one at a time.",
                    next_step=f"Name them, for example fleet:NAME/{specs[0].name}.",
                )
            self._devices[word] = Device(self, specs[0])
        return self._devices[word]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something asynchronous and write progress meanwhile."""
        return self._loop.run(work, self.listener.write)

    def record(self, row: Row) -> None:
        """Attach a row to the running test; it travels with the test's report."""
        if self.item is not None:
            self.item.user_properties.append((PROPERTY, row.text()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember whose assertions follow."""
        self.item = item

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Remember whose assertions follow; the first test was set up before this session was there."""
        self.item = item

    def pytest_unconfigure(self) -> None:
        """Disconnect, whatever ended the session."""
        for device in self._devices.values():
            self.run(device.close())
        self._loop.close()
        self.app.close()


class Device:
    """One device under test; connected when first asked for something, until the session ends."""

    def __init__(self, session: GateSession, spec: DeviceSpec) -> None:
        self._session = session
        self._spec = spec
        alone = not hasattr(session.config, "workerinput")
        self._gate = GateDevice(
            session.app,
            spec,
            lease_wait_s=session.options.lease_wait_s,
            keep_open=alone,
            context=_context(),
        )
        self._measured: dict[object, Result] = {}
        self._facts: Facts | None = None

    def __repr__(self) -> str:
        return f"<device {self.name}>"

    @property
    def name(self) -> str:
        """Name as given, for example "pi" of "pi=sim:raspberry_pi_5"."""
        return self._spec.name

    @property
    def simulated(self) -> bool:
        """Whether its figures are predicted."""
        return self.facts.simulated

    @property
    def facts(self) -> Facts:
        """What the device found out about itself."""
        __tracebackhide__ = True
        if self._facts is None:
            self._facts = self.sentence(lambda: self._session.run(self._gate.facts(self._session.listener)))
        return self._facts

    @property
    def options(self) -> GateOptions:
        """Options of the session."""
        return self._session.options

    @property
    def root(self) -> Path:
        """What relative paths start from: pytest's root directory."""
        return self._session.config.rootpath

    def measure(
        self,
        model: str | Path,
        *,
        data: str | Path = "",
        reference: str | Path = "",
        name: str = "",
        state: Sequence[str] = (),
        settings: RuntimeSettings | None = None,
        benchmark: Benchmark | None = None,
        rounds: int | None = None,
        samples: int | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Result:
        """Measure a model on this device, once in a session for equal arguments.

        Args:
            model: a model file or ``file.py:function``, relative to pytest's root directory.
            data: items whose inputs are used; without it they are random.
            reference: the model whose outputs count as right; without it the model's own on the host do.
            name: what baselines and budgets call it; without it the file's name.
            state: outputs that are fed back, as "OUTPUT:INPUT".
            settings: settings of the runtime.
            benchmark: how it is measured; the session's options and the next arguments change it.
            rounds: fresh processes.
            samples: least samples; 130 allow a p95, 662 a p99.
            batch_size: items per inference.
            threads: threads within one operator.
        """
        __tracebackhide__ = True
        changes: dict[str, Any] = {
            "rounds": rounds,
            "sample_count_min": samples,
            "batch_size": batch_size,
        }
        chosen = replace(
            benchmark or self.options.benchmark, **{k: v for k, v in changes.items() if v is not None}
        )
        used = settings or RuntimeSettings(intra_op_threads=threads or self.options.threads)
        request = GateRequest(
            model=self.resolve(model),
            data=self.resolve(data) if data else "",
            reference=self.resolve(reference) if reference else "",
            state=self.sentence(lambda: parse_state(state)),
            settings=used,
            benchmark=chosen,
        )
        return self._once(name or Path(model).name, request)

    def assert_budgets(self, model: str | Path, *, name: str = "", **how: Any) -> None:
        """Measure a model and hold it against every budget of the reviewed file that speaks of it.

        ``how`` is what ``measure`` takes; samples are raised to what the bounded percentiles need.
        """
        __tracebackhide__ = True
        shown = name or Path(model).name
        budgets = self.sentence(lambda: self._budgets(model, shown))
        least = max(samples_needed(budgets), how.pop("samples", 0), self.options.benchmark.sample_count_min)
        result = self.measure(model, name=shown, samples=least, **how)
        self.settle(self.sentence(lambda: _hold(result, budgets)))

    def resolve(self, model: str | Path) -> str:
        """Return a path from pytest's root directory where there is such a file, else the text itself."""
        text = str(model)
        return str(self.root / text) if (self.root / text.partition(":")[0]).exists() else text

    def hold_regression(
        self, gated: Gated, measured: GateRequest, asked: RegressionRequest
    ) -> tuple[GateCheck, Run]:
        """Return the answer on a regression and the run it rests on.

        Raises:
            EdgeloopError: the baseline cannot be read or measured.
        """
        session = self._session
        return session.run(hold_regression(self._gate, gated, measured, asked, session.listener))

    def keep_as_baseline(self, gated: Gated, asked: RegressionRequest) -> GateCheck:
        """Record a measurement in the file of baselines.

        Raises:
            EdgeloopError: the file cannot be used.
        """
        return keep_as_baseline(self._gate, gated, asked)

    def settle(self, rows: Sequence[Row]) -> None:
        """Record every row; fail the test, in one paragraph for each, with what did not pass."""
        __tracebackhide__ = True
        for row in rows:
            self._session.record(row)
        wrong = [_paragraph(row) for row in rows if row.verdict not in _PASSED]
        if wrong:
            pytest.fail("\n".join(wrong), pytrace=False)

    def sentence(self, work: Callable[[], T]) -> T:
        """Do something; a mistake or a device that is away fails the test with one sentence."""
        __tracebackhide__ = True
        try:
            return work()
        except EdgeloopError as error:
            failure = f"edgeloop: {self.name}: {error}"
        pytest.fail(failure, pytrace=False)

    async def close(self) -> None:
        """Disconnect."""
        await self._gate.close()

    def _once(self, name: str, request: GateRequest) -> Result:
        __tracebackhide__ = True
        key = (name, request, _stamp(request.model), _stamp(request.reference), _stamp(request.data))
        if key not in self._measured:
            session = self._session
            gated = self.sentence(lambda: session.run(self._gate.measure(request, session.listener)))
            self._measured[key] = Result(self, name, request, gated)
        return self._measured[key]

    def _budgets(self, model: str | Path, shown: str) -> tuple[Budget, ...]:
        from edgeloop_foundation.errors import NotFoundError

        path = self.options.budgets
        classes = device_classes(self.name, self._spec.transport, self.facts)
        found = matching(read_budgets(path), (shown, Path(model).stem), classes)
        if not found:
            raise NotFoundError(
                f"{path.name} has no budget of {shown} on {' / '.join(classes)}.",
                next_step="Add one, or take the assertion away.",
            )
        return found


def _hold(result: Result, budgets: Sequence[Budget]) -> list[Row]:
    rows: list[Row] = []
    for budget in budgets:
        rows += result.check_bounds(budget.bounds())
    if any(budget.parity for budget in budgets):
        rows.append(result.check_parity())
    return rows + [result.check_regression(b.max_slowdown) for b in budgets if b.max_slowdown is not None]


def _paragraph(row: Row) -> str:
    source = f"predicted, basis {row.basis}" if row.source == "simulated" else row.source.replace("_", " ")
    if row.source == "emulated":
        source = f"measured under emulated resources: {row.basis}"
    return (
        f"edgeloop: {row.model} on {row.device}: {row.verdict.upper()} {row.check}: {row.reason.rstrip('.')}. "
        f"[{source}; series {row.series}; run {row.run_id[:8]}]"
    )


def _stamp(path: str) -> tuple[int, int] | None:
    """Return what changes when a file is written anew; None for what is no file."""
    try:
        found = Path(path.partition(":")[0]).stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None


def _context() -> tuple[tuple[str, str], ...]:
    """Return what finds a run again: the build and the commit, where the environment tells."""
    known = ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_SHA", "CI_JOB_ID", "CI_COMMIT_SHA")
    return (("by", "pytest"), *((name, os.environ[name]) for name in known if os.environ.get(name)))
