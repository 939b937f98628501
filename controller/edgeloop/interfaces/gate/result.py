"""What ``device.measure`` returns: the figures, and the assertions that decide by their intervals."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Source, Verdict

import edgeloop
from edgeloop.domain.baseline import Baseline, fingerprint, refusal
from edgeloop.interfaces.gate.budgets import parse_share
from edgeloop.interfaces.gate.record import Row
from edgeloop.orchestrate.gate import Gated, GateRequest
from edgeloop.select.expressions import parse_constraint
from edgeloop.select.gate import GateCheck, hold_bound, hold_parity, hold_slowdown, objection
from edgeloop.store.baselines import read_baselines, record_baseline

if TYPE_CHECKING:
    from edgeloop.interfaces.gate.device import Device

__all__ = ["Result"]

_RECORDED = "recorded"
_PERCENTILES = ("p50", "p90", "p95", "p99")


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
        given = dict(zip(_PERCENTILES, (p50, p90, p95, p99), strict=True))
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
        self._device.settle([self._row(hold_parity(self._gated.evidence, self.run))])

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
        if of not in _PERCENTILES:
            raise InvalidInputError(f"a regression is judged by {', '.join(_PERCENTILES)}, not {of!r}.")
        check = f"latency_{of} slowdown <= {100 * allowed:g}%"
        against = objection(self.run)
        if against:
            return self._undecided(check, against)
        if baseline is not None and Path(baseline).suffix != ".json":
            return self._interleaved(check, self._device.resolve(baseline), allowed, of)
        path = self._device.options.baseline
        if baseline is not None:
            path = self._device.root / baseline
        if self._device.options.update_baseline:
            return self._record(path, check)
        return self._against_file(path, check, allowed, of)

    def _against_file(self, path: Path, check: str, allowed: float, of: str) -> Row:
        try:
            known = read_baselines(path).find(self.model, self._device.name)
        except NotFoundError as error:
            return self._undecided(check, str(error).rstrip("."))
        if known is None:
            return self._undecided(
                check, f"{path.name} has no baseline of {self.model} on {self._device.name}; "
                "record one with --edgeloop-update-baseline"
            )  # fmt: skip
        refused = refusal(known, self.run, self._gated.facts)
        if refused:
            return self._undecided(check, refused)
        if known.artifact_digest == self.artifact_digest:
            same = Estimate(value=1.0, low=1.0, high=1.0, confidence=1.0, sample_count=1)
            how = "the artifact is the baseline's own, bit for bit, under equal conditions"
            return self._row(hold_slowdown(check, same, allowed, how))
        if self._device.keeps(known.artifact_digest):
            return self._interleaved(check, known.artifact_digest, allowed, of)
        quantity = f"latency_{of}"
        then = dict(known.values).get(quantity, Estimate.absent(f"the baseline has no {quantity}"))
        how = (
            f"from the distribution recorded on {known.recorded_on}, the wider interval: the baseline's artifact "
            f"{known.artifact_digest[:12]} is not at hand to be measured again"
        )
        return self._row(hold_slowdown(check, _ratio(self.value(quantity), then), allowed, how))

    def _interleaved(self, check: str, baseline: str, allowed: float, of: str) -> Row:
        old, new = self._device.compare(baseline, self._request)
        for gated, which in ((old, "the baseline"), (new, "this model")):
            against = objection(gated.run)
            if against:
                return self._undecided(check, f"interleaved with its baseline, {which}: {against}")
        gain = new.evidence.gain(f"latency_{of}")
        how = f"both measured again, interleaved, on {self._device.name}"
        return self._row(hold_slowdown(check, _inverse(gain), allowed, how), new.run)

    def _record(self, path: Path, check: str) -> Row:
        steady = self.run.timing.steady if self.run.timing else None
        if steady is None:
            return self._undecided(check, "no steady latency was measured, so there is nothing to record")
        facts = self._gated.facts
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        names = [f"latency_{name}" for name in _PERCENTILES]
        new = Baseline(
            model=self.model,
            device=self._device.name,
            board=facts.hardware.model or facts.hardware.cpu_model or facts.hardware.architecture,
            fingerprint=fingerprint(facts),
            source=self.run.source,
            profile_digest=self.run.simulation.profile_digest if self.run.simulation else "",
            series=self.run.benchmark.series,
            runtime_version=self.run.runtime_version,
            settings=self.run.trial.settings,
            batch_size=self.run.benchmark.batch_size,
            artifact_digest=self.artifact_digest,
            recorded_on=today,
            edgeloop_version=edgeloop.__version__,
            latency=steady,
            values=tuple((name, self.value(name)) for name in names),
        )
        record_baseline(path, new)
        row = self._undecided(check, f"recorded in {path.name}; have it reviewed")
        return replace(row, verdict=_RECORDED)

    def _undecided(self, check: str, reason: str) -> Row:
        absent = Estimate.absent(reason)
        return self._row(
            GateCheck(check=check, verdict=Verdict.UNDECIDED, reason=reason, estimate=absent, unit="ratio")
        )

    def _row(self, check: GateCheck, run: Run | None = None) -> Row:
        run = run or self.run
        predicted = run.source is Source.SIMULATED
        # Size is read from the file itself, on a simulated board too.
        of_file = check.check.startswith("size ")
        return Row(
            device=self._device.name,
            model=self.model,
            check=check.check,
            verdict=check.verdict.value,
            source="host" if of_file else run.source.value,
            basis=run.simulation.basis if predicted and run.simulation and not of_file else "",
            series=run.benchmark.series,
            value=check.estimate.value,
            low=check.estimate.low,
            high=check.estimate.high,
            unit=check.unit,
            sample_count=check.estimate.sample_count,
            reason=check.reason,
            run_id=run.run_id,
        )


def _inverse(gain: Estimate) -> Estimate:
    """Return "how many times slower" of "how many times better"."""
    if gain.value is None:
        return gain
    return replace(
        gain,
        value=1 / gain.value,
        low=1 / gain.high if gain.high else None,
        high=1 / gain.low if gain.low else None,
    )


def _ratio(now: Estimate, then: Estimate) -> Estimate:
    """Return now / then from the ends of the two intervals, the least favourable against each other."""
    if now.value is None or then.value is None:
        return Estimate.absent(now.reason or then.reason)
    count = min(now.sample_count, then.sample_count)
    if now.low is None or now.high is None or not then.low or then.high is None:
        return Estimate(value=now.value / then.value, sample_count=count)
    return Estimate(
        value=now.value / then.value,
        low=now.low / then.high,
        high=now.high / then.low,
        confidence=now.confidence,
        sample_count=count,
    )
