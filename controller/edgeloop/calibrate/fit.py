"""Fits a profile to measured latencies: log-multipliers of its figures, drawn towards one.

Maximum a posteriori in log space: squared log errors over ``NOISE``, plus squared log-multipliers over a prior width.
The narrow prior is shrinkage for few points, the wide one is least squares for many; which of the two is taken is
decided by the error on points that were left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_profiles.predict import Prediction, predict_latency
from edgeloop_profiles.profile import Profile
from edgeloop_protocol.types.artifact import Kernel

from edgeloop.calibrate.scale import parameters, scaled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OBSERVATIONS_MIN", "Fit", "Observation", "fit", "predict"]

OBSERVATIONS_MIN = 3
"""One is left out at a time; what is left has to say something about rates and about overheads."""

_NOISE = 0.06
"""Relative error that one measured latency may have beside the model's: two good runtimes on one board differ by
15 %, a repeated measurement by 1 to 3 %."""

_PRIORS = {"shrinkage": 0.4, "least squares": 1.5}
"""Prior standard deviation of a log-multiplier."""

_KERNEL_NOISE = 0.25
"""Relative error of one kernel's time: the profiler counts whole microseconds and neighbours share caches."""

_KERNEL_MIN_S = 20e-6
"""Shorter kernels are left to the whole model's time: a microsecond of rounding would be five percent of them."""

_STEP = 1e-3
_ITERATIONS = 25
_HALVINGS = 8
_SETTLED = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One model's latency on the device."""

    #: Name for people.
    model: str
    #: Family of architectures; what a fit is held out by.
    family: str
    #: Lowered graph at batch 1.
    kernels: tuple[Kernel, ...]
    #: Threads within one operator.
    threads: int
    #: Items per inference.
    batch_size: int = 1
    #: Median latency.
    latency_s: float
    #: Time of each kernel where it was measured, in the order of ``kernels``; empty when none was.
    kernel_times_s: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        if self.latency_s <= 0.0:
            raise ValueError(f"the latency of {self.model} is above 0, not {self.latency_s}")
        if self.kernel_times_s and len(self.kernel_times_s) != len(self.kernels):
            raise ValueError(f"{self.model} has {len(self.kernels)} kernels, not {len(self.kernel_times_s)}")

    @property
    def timed_kernels(self) -> tuple[int, ...]:
        """Return the places of the kernels whose own time is known well enough."""
        return tuple(i for i, t in enumerate(self.kernel_times_s) if t is not None and t >= _KERNEL_MIN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted profile and how far it can be trusted."""

    #: The fitted profile.
    profile: Profile
    #: "shrinkage" or "least squares".
    method: str
    #: Name and factor of everything that was multiplied; above 1 is slower than the profile started from.
    factors: tuple[tuple[str, float], ...]
    #: Log error (predicted over measured) of each observation when it was left out, in their order.
    held_out_log_errors: tuple[float, ...]
    #: The same with its whole family left out; empty when there is one family.
    family_log_errors: tuple[float, ...]


def predict(profile: Profile, runtime: str, observation: Observation) -> Prediction:
    """Return the prediction for an observation's model."""
    return predict_latency(
        profile,
        observation.kernels,
        threads=observation.threads,
        batch_size=observation.batch_size,
        runtime=runtime,
    )


def fit(profile: Profile, runtime: str, observations: Sequence[Observation]) -> Fit:
    """Return the profile fitted to the observations, with errors on what was left out.

    Args:
        profile: where to start from; its figures are the prior.
        runtime: name of the runtime that was measured.
        observations: at least ``OBSERVATIONS_MIN``.

    Raises:
        ValueError: too few observations to leave any out.
        UnsupportedError: the profile lacks the runtime or a rate.
    """
    if len(observations) < OBSERVATIONS_MIN:
        raise ValueError(f"a fit needs {OBSERVATIONS_MIN} observations, there are {len(observations)}")
    start = _Start(profile, runtime, observations)
    errors = {name: start.leave_one_out(width) for name, width in _PRIORS.items()}
    method = min(errors, key=lambda name: sum(abs(e) for e in errors[name]))
    everything = list(range(len(observations)))
    solution = start.solve(everything, _PRIORS[method])
    factors = start.factors(solution)
    return Fit(
        profile=scaled(profile, runtime, factors),
        method=method,
        factors=tuple(sorted(factors.items())),
        held_out_log_errors=errors[method],
        family_log_errors=start.leave_family_out(_PRIORS[method]),
    )


class _Start:
    """Observations and the profile they are explained from.

    Each observation is one or more rows: the whole model, and each kernel whose own time is known. All kernels of a
    model weigh about as much as the model itself, however many there are.
    """

    def __init__(self, profile: Profile, runtime: str, observations: Sequence[Observation]) -> None:
        import numpy as np

        self._profile, self._runtime, self._observations = profile, runtime, observations
        precisions = tuple(
            sorted({kernel.precision for entry in observations for kernel in entry.kernels if kernel.macs})
        )
        counts = {entry.threads for entry in observations}
        threaded = 1 in counts and len(counts) > 1
        self._names = parameters(precisions or ("fp32",), threaded=threaded)
        self._targets = [np.log(_measured(entry)) for entry in observations]
        self._weights = [_weights(entry) for entry in observations]

    def factors(self, solution: NDArray[np.float64]) -> dict[str, float]:
        return {name: math.exp(value) for name, value in zip(self._names, solution, strict=True)}

    def _rows(self, solution: NDArray[np.float64], chosen: Sequence[int]) -> NDArray[np.float64]:
        """Return the predicted logarithms of all rows of the chosen observations."""
        import numpy as np

        profile = scaled(self._profile, self._runtime, self.factors(solution))
        return np.concatenate(
            [np.log(_computed(profile, self._runtime, self._observations[i])) for i in chosen]
        )

    def solve(self, chosen: Sequence[int], prior: float) -> NDArray[np.float64]:
        """Return the log-multipliers by Gauss-Newton steps that are halved until they help."""
        import numpy as np

        target = np.concatenate([self._targets[i] for i in chosen])
        weights = np.concatenate([self._weights[i] for i in chosen])
        theta = np.zeros(len(self._names))
        values = self._rows(theta, chosen)
        cost = _cost(theta, (target - values) * weights, prior)
        for _ in range(_ITERATIONS):
            jacobian = self._jacobian(theta, values, chosen) * weights[:, None]
            residual = (target - values) * weights
            normal = jacobian.T @ jacobian + np.eye(len(theta)) / prior**2
            step = np.clip(np.linalg.solve(normal, jacobian.T @ residual - theta / prior**2), -1.0, 1.0)
            for _ in range(_HALVINGS):
                tried = self._rows(theta + step, chosen)
                new_cost = _cost(theta + step, (target - tried) * weights, prior)
                if new_cost < cost:
                    break
                step = step / 2
            else:
                break
            theta, values, cost = theta + step, tried, new_cost
            if float(np.abs(step).max()) < _SETTLED:
                break
        return theta

    def _jacobian(
        self, theta: NDArray[np.float64], values: NDArray[np.float64], chosen: Sequence[int]
    ) -> NDArray[np.float64]:
        import numpy as np

        columns = []
        for index in range(len(theta)):
            moved = theta.copy()
            moved[index] += _STEP
            columns.append((self._rows(moved, chosen) - values) / _STEP)
        return np.stack(columns, axis=1)

    def error(self, theta: NDArray[np.float64], index: int) -> float:
        """Return the log error of a whole model: predicted over measured."""
        return float(self._rows(theta, [index])[0] - self._targets[index][0])

    def leave_one_out(self, prior: float) -> tuple[float, ...]:
        everything = range(len(self._observations))
        return tuple(
            self.error(self.solve([i for i in everything if i != left], prior), left) for left in everything
        )

    def leave_family_out(self, prior: float) -> tuple[float, ...]:
        families = [entry.family for entry in self._observations]
        if len(set(families)) < 2:
            return ()
        errors: dict[int, float] = {}
        for family in sorted(set(families)):
            theta = self.solve([i for i, name in enumerate(families) if name != family], prior)
            errors |= {i: self.error(theta, i) for i, name in enumerate(families) if name == family}
        return tuple(errors[i] for i in range(len(families)))


def _measured(entry: Observation) -> list[float]:
    return [entry.latency_s, *(entry.kernel_times_s[i] or 0.0 for i in entry.timed_kernels)]


def _computed(profile: Profile, runtime: str, entry: Observation) -> list[float]:
    found = predict(profile, runtime, entry)
    return [found.point_s, *(found.kernels[i].time_s for i in entry.timed_kernels)]


def _weights(entry: Observation) -> NDArray[np.float64]:
    import numpy as np

    count = len(entry.timed_kernels)
    kernels = [1.0 / (_KERNEL_NOISE * math.sqrt(max(count, 1)))] * count
    return np.array([1.0 / _NOISE, *kernels])


def _cost(theta: NDArray[np.float64], weighted: NDArray[np.float64], prior: float) -> float:
    return float((weighted**2).sum() + (theta**2).sum() / prior**2)
