"""What ``device.measure`` returns: the figures, and the assertions that decide by their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Verdict

from edgeloop.interfaces.gate.budgets import parse_share
from edgeloop.interfaces.gate.record import Row
from edgeloop.orchestrate.gate import Gated, GateRequest
from edgeloop.orchestrate.regression import PERCENTILES, RegressionRequest
from edgeloop.select.expressions import parse_constraint
from edgeloop.select.gate import GateCheck, hold_bound, hold_parity

if TYPE_CHECKING:
    from edgeloop.interfaces.gate.device import Device

__all__ = ["Result"]

_RECORDED = "recorded"


class Result:
    """One model as it was measured on one device in this session.

    An assertion passes only when the unfavourable end of the interval is within the bound. It fails when the
    favourable end is beyond it, and is undecided, a failure with its own wording, in every other case.
    """

    def __init__(self, device: Device, model: str, request: GateRequest, gated: Gated) -> None:
        self._device, self._request, self._gated = device, request, gated
        self.model = model

    def __repr__(self) -> str:
        return f"<{self.model} on {self._device.name}: {self.run.source.value}>"

    @property
    def run(self) -> Run:
        """The whole record of the run."""
        return self._gated.run

    @property
    def artifact_digest(self) -> str:
        """What was measured."""
        return self._gated.artifact_digest

    def value(self, quantity: str) -> Estimate:
        """Return a quantity such as "latency_p95" with its interval, or with the reason why it is absent."""
        return self._gated.evidence.value(quantity)

    def assert_latency(
        self,
        *,
        p50: str | None = None,
        p90: str | None = None,
        p95: str | None = None,
        p99: str | None = None,
    ) -> None:
        """Assert upper bounds of steady latency, for example ``p95="30ms"``."""
        __tracebackhide__ = True
        given = dict(zip(PERCENTILES, (p50, p90, p95, p99), strict=True))
        self._assert_bounds({f"latency_{name}": bound for name, bound in given.items() if bound is not None})

    def assert_memory(self, peak: str) -> None:
        """Assert an upper bound of the peak resident set of the inferences, for example "200MB"."""
        __tracebackhide__ = True
        self._assert_bounds({"memory": peak})

    def assert_energy(self, per_inference: str) -> None:
        """Assert an upper bound of the energy of one inference, idle included, for example "5mJ"."""
        __tracebackhide__ = True
        self._assert_bounds({"energy": per_inference})

    def assert_size(self, limit: str) -> None:
        """Assert an upper bound of the bytes that the runtime opens, for example "2MB"."""
        __tracebackhide__ = True
        self._assert_bounds({"size": limit})

    def assert_parity(self) -> None:
        """Assert that the device's outputs agree with those of the host and of the reference."""
        __tracebackhide__ = True
        self._device.settle([self.check_parity()])

    def assert_no_regression(
        self, baseline: str | Path | None = None, max_slowdown: str = "5%", of: str = "p50"
    ) -> None:
        """Assert that latency is not certainly or possibly worse than a baseline's by more than allowed.

        Args:
            baseline: a model file or the digest of a kept artifact, measured again interleaved with this
                one; or a ``.json`` file of recorded baselines; None is the configured file.
            max_slowdown: what is allowed, for example "5%".
            of: "p50", "p90", "p95" or "p99".
        """
        __tracebackhide__ = True
        row = self._device.sentence(lambda: self._regression(baseline, parse_share(max_slowdown), of))
        self._device.settle([row])

    def check_bounds(self, bounds: Sequence[tuple[str, str]]) -> list[Row]:
        """Return the answers to upper bounds by quantity.

        Raises:
            InvalidInputError: a bound that cannot be read.
        """
        allow = self._device.options.allow_predicted
        return [
            self._row(
                hold_bound(
                    parse_constraint(f"{quantity} <= {bound}"),
                    self._gated.evidence,
                    self.run,
                    allow_predicted=allow,
                )
            )
            for quantity, bound in bounds
        ]

    def check_parity(self) -> Row:
        """Return the answer on parity."""
        return self._row(hold_parity(self._gated.evidence, self.run))

    def check_regression(self, max_slowdown: str) -> Row:
        """Return the answer on the configured baseline.

        Raises:
            EdgeloopError: the baseline cannot be read or measured.
        """
        return self._regression(None, parse_share(max_slowdown), "p50")

    def _assert_bounds(self, bounds: dict[str, str]) -> None:
        __tracebackhide__ = True
        if not bounds:
            pytest.fail("edgeloop: nothing is asserted; name a bound, for example p95='30ms'.", pytrace=False)
        self._device.settle(self._device.sentence(lambda: self.check_bounds(tuple(bounds.items()))))

    def _regression(self, baseline: str | Path | None, allowed: float, of: str) -> Row:
        options = self._device.options
        file = options.baseline
        model = ""
        if baseline is not None and Path(baseline).suffix == ".json":
            file = self._device.root / baseline
        elif baseline is not None:
            model = self._device.resolve(baseline)
        asked = RegressionRequest(model=self.model, allowed=allowed, of=of, baseline=model, file=file)
        if options.update_baseline and not model:
            row = self._row(self._device.keep_as_baseline(self._gated, asked))
            return replace(row, verdict=_RECORDED) if row.verdict == Verdict.PASSED.value else row
        check, run = self._device.hold_regression(self._gated, self._request, asked)
        return self._row(check, run)

    def _row(self, check: GateCheck, run: Run | None = None) -> Row:
        run = run or self.run
        # Size is read from the file itself, on a simulated board too.
        of_file = check.check.startswith("size ")
        return Row(
            device=self._device.name,
            model=self.model,
            check=check.check,
            verdict=check.verdict.value,
            source="host" if of_file else run.source.value,
            basis="" if of_file else run.basis,
            series=run.benchmark.series,
            value=check.estimate.value,
            low=check.estimate.low,
            high=check.estimate.high,
            unit=check.unit,
            sample_count=check.estimate.sample_count,
            reason=check.reason,
            run_id=run.run_id,
        )
