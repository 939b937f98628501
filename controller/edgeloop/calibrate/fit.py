"""Fits a profile to measured latencies: log-multipliers of its figures, drawn towards one.

Maximum a posteriori in log space: squared log errors over ``NOISE``, plus squared log-multipliers over a prior width.
Rates are nested: a group of kernel classes has one multiplier, each rate of the group another that stays near one, so
that operators that were hardly seen go with those that were. The narrow prior is shrinkage for few points, the wide one
is least squares for many; which of the two is taken is decided by the error on points that were left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_profiles.predict import REACH, Prediction, grouped, predict_latency
from edgeloop_profiles.profile import Profile, Rate
from edgeloop_protocol.types.artifact import Kernel

from edgeloop.calibrate.matching import absorbed_operators
from edgeloop.calibrate.scale import SHAPES, SHARED, THREADS, detailed, factors_of, names_of, scaled

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

_WITHIN = {"row": 0.4, "bytewise row": 1.5, "shape": 1.0, "unaligned": 0.3}
"""The same for one rate within its group, for what a shape costs and for channels that do not fill their last group.
Operators that move bytes are hardly alike."""

_KERNEL_NOISE = 0.2
_KERNEL_NOISE_S = 1.5e-6
"""Error of one kernel's time, relative and absolute: neighbours share caches, and the profiler takes time itself."""

_KERNEL_MIN_S = 5e-6
"""Shorter kernels are left to the whole model's time: the profiler counts whole microseconds."""

_OUTLIER = 2.0
"""From this many standard deviations on a kernel pulls no harder (Huber): one that took another path says nothing
about the others."""

_ABSORBED_S = 1e-7
"""Stands for the time of a kernel that was measured although the profile says that it disappears."""

_NO_BOUND = 1e9
_LARGEST = 5.0
"""No log-multiplier is larger: a factor of 150 is another device, not another figure of this one."""

_FOLDS = 5
_KNOWN_SHARE = 0.3
"""Share of a model's time that kernels of known kinds have to take for its error to say something."""

_STEP = 1e-3
_ITERATIONS = 12
_HALVINGS = 8
_SETTLED = 5e-3


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
    #: Log errors (predicted over measured) on what was left out, one for each observation that others speak for.
    held_out_log_errors: tuple[float, ...]
    #: The same with whole families left out; empty when there is one family, or none shares kernels with others.
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
    errors = {name: start.held_out(width) for name, width in _PRIORS.items()}
    method = min(errors, key=lambda name: sum(abs(e) for e in errors[name]))
    factors = start.factors(start.solve(range(len(observations)), _PRIORS[method]))
    several = len({entry.family for entry in observations}) > 1
    return Fit(
        profile=scaled(start.profile, runtime, factors),
        method=method,
        factors=tuple(sorted(factors.items())),
        held_out_log_errors=errors[method],
        family_log_errors=start.leave_families_out(_PRIORS[method]) if several else (),
    )


class _Start:
    """Observations and the profile they are explained from.

    Each observation is one or more rows: the whole model, and each kernel whose own time is known.
    """

    def __init__(self, profile: Profile, runtime: str, observations: Sequence[Observation]) -> None:
        import numpy as np

        absorbed = absorbed_operators((entry.kernels, entry.kernel_times_s) for entry in observations)
        kernels = [kernel for entry in observations for kernel in entry.kernels]
        self.profile = detailed(profile, runtime, kernels, absorbed)
        self._runtime, self._observations = runtime, observations
        self._names = self._parameters()
        self._places = {name: place for place, name in enumerate(self._names)}
        self._targets = [np.log(_measured(entry)) for entry in observations]
        self._weights = [_weights(entry) for entry in observations]

    def _parameters(self) -> tuple[str, ...]:
        """Return the names of everything that any observation says something about."""
        model, names = self.profile.runtime(self._runtime), set(SHARED)
        for entry in self._observations:
            for time in predict(self.profile, self._runtime, entry).kernels:
                own = names_of(model, time)
                names.update(own if time.terms else ())
                if time.terms and model.rates[time.rate].macs_per_cycle is not None:
                    names.update(f"{own[0]}/{term}" for term in SHAPES)
        counts = {entry.threads for entry in self._observations}
        # With one thread count the speed-up cannot be told from the rates.
        return (*sorted(names), *([THREADS] if 1 in counts and len(counts) > 1 else []))

    def factors(self, solution: NDArray[np.float64]) -> dict[str, float]:
        return {name: math.exp(value) for name, value in zip(self._names, solution, strict=True)}

    def priors(self, width: float) -> NDArray[np.float64]:
        """Return the prior standard deviation of each parameter."""
        import numpy as np

        rates = self.profile.runtime(self._runtime).rates
        return np.array([_WITHIN.get(_kind(name, rates), width) for name in self._names])

    def _rows(self, solution: NDArray[np.float64], chosen: Sequence[int]) -> NDArray[np.float64]:
        """Return the predicted logarithms of all rows of the chosen observations."""
        import numpy as np

        profile = scaled(self.profile, self._runtime, self.factors(solution))
        rows = []
        for index in chosen:
            entry = self._observations[index]
            found = predict(profile, self._runtime, entry)
            rows += [found.point_s, *(max(found.kernels[i].time_s, _ABSORBED_S) for i in entry.timed_kernels)]
        return np.log(rows)

    def _linear(
        self, solution: NDArray[np.float64], chosen: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the predicted logarithms and their derivatives by the log-multipliers: shares of the time."""
        import numpy as np

        profile = scaled(self.profile, self._runtime, self.factors(solution))
        model, rows, jacobian = profile.runtime(self._runtime), [], []
        for index in chosen:
            entry = self._observations[index]
            found = predict(profile, self._runtime, entry)
            whole, timed = np.zeros(len(self._names)), set(entry.timed_kernels)
            own = []
            for place, time in enumerate(found.kernels):
                shares = np.zeros(len(self._names))
                for seconds, names in factors_of(model, time):
                    for name in names:
                        shares[self._places[name]] += seconds
                whole += shares
                if place in timed:
                    own.append((max(time.time_s, _ABSORBED_S), shares / max(time.time_s, _ABSORBED_S)))
            whole[self._places["inference"]] += found.point_s - sum(t.time_s for t in found.kernels)
            rows += [found.point_s, *(seconds for seconds, _ in own)]
            jacobian += [whole / found.point_s, *(shares for _, shares in own)]
        values, matrix = np.log(rows), np.array(jacobian)
        if THREADS in self._places:
            moved = solution.copy()
            moved[self._places[THREADS]] += _STEP
            matrix[:, self._places[THREADS]] = (self._rows(moved, chosen) - values) / _STEP
        return values, matrix

    def solve(
        self, chosen: Sequence[int], width: float, masks: Sequence[NDArray[np.float64]] = ()
    ) -> NDArray[np.float64]:
        """Return the log-multipliers by Gauss-Newton steps that are halved until they help.

        Args:
            chosen: observations to fit to.
            width: of the prior.
            masks: for each observation, 1 for the rows that count and 0 for the others; none counts all.
        """
        import numpy as np

        target = np.concatenate([self._targets[i] for i in chosen])
        weights = np.concatenate([self._weights[i] * (masks[i] if masks else 1.0) for i in chosen])
        # A whole model is what is asked for; only single kernels may be outliers.
        bounds = np.concatenate([_bounds(self._observations[i]) for i in chosen])
        prior = self.priors(width)
        theta = np.zeros(len(self._names))
        for _ in range(_ITERATIONS):
            values, jacobian = self._linear(theta, chosen)
            residual = (target - values) * weights
            cost = _cost(theta, residual, prior, bounds)
            pull = np.sqrt(np.minimum(1.0, bounds / np.maximum(np.abs(residual), 1e-9)))
            sides = jacobian * (weights * pull)[:, None]
            normal = sides.T @ sides + np.diag(1.0 / prior**2)
            step = np.linalg.solve(normal, sides.T @ (residual * pull) - theta / prior**2)
            step = np.clip(theta + np.clip(step, -1.0, 1.0), -_LARGEST, _LARGEST) - theta
            for _ in range(_HALVINGS):
                tried = (target - self._rows(theta + step, chosen)) * weights
                if _cost(theta + step, tried, prior, bounds) < cost:
                    break
                step = step / 2
            else:
                break
            theta = theta + step
            if float(np.abs(step).max()) < _SETTLED:
                break
        return theta

    def error(self, theta: NDArray[np.float64], index: int) -> float:
        """Return the log error of a whole model: predicted over measured."""
        return float(self._rows(theta, [index])[0] - self._targets[index][0])

    def held_out(self, width: float) -> tuple[float, ...]:
        """Return log errors on what was left out, one for each observation that the others say something about.

        Where its kernels were timed each of them is left out once, in folds, and the error is that of their sum;
        kernels of a kind that only its fold has are left aside. Else the whole observation is left out, unless its
        latency is so far from all others that a prediction would call itself extrapolated. Where that leaves nothing,
        every observation is left out as a whole.
        """
        import numpy as np

        everything = range(len(self._observations))
        timed = [i for i in everything if len(self._observations[i].timed_kernels) >= _FOLDS]
        errors = [
            self.error(self.solve([j for j in everything if j != i], width), i)
            for i in everything
            if i not in timed and self._in_reach(i)
        ]
        folds = [np.random.default_rng(i).permutation(len(self._targets[i]) - 1) % _FOLDS for i in everything]
        sums = {i: [0.0, 0.0] for i in timed}
        for fold in range(_FOLDS if timed else 0):
            # A model's whole time holds the kernels that are left out, so it is left out with them.
            masks = [
                np.concatenate([[float(i not in timed)], (folds[i] != fold) if i in timed else folds[i] >= 0])
                for i in everything
            ]
            known = {
                kind
                for i in everything
                for kind, kept in zip(self._kinds(i), masks[i][1:], strict=True)
                if kept
            }
            theta = self.solve(everything, width, masks)
            for i in timed:
                tested = (folds[i] == fold) & np.array([kind in known for kind in self._kinds(i)])
                sums[i][0] += float(np.exp(self._rows(theta, [i]))[1:][tested].sum())
                sums[i][1] += float(np.exp(self._targets[i])[1:][tested].sum())
        found = (*errors, *(math.log(ours / true) for ours, true in sums.values() if true))
        return found or tuple(
            self.error(self.solve([j for j in everything if j != i], width), i) for i in everything
        )

    def _kinds(self, index: int) -> list[tuple[str, str, str, bool]]:
        entry = self._observations[index]
        return [_kind_of(entry.kernels[place]) for place in entry.timed_kernels]

    def _in_reach(self, index: int) -> bool:
        own = self._observations[index].latency_s
        others = [entry.latency_s for i, entry in enumerate(self._observations) if i != index]
        return min(others) / REACH <= own <= max(others) * REACH

    def leave_families_out(self, width: float) -> tuple[float, ...]:
        """Return the log error of each observation when its whole family is left out.

        Kernels of a kind that only this family has are left aside: nobody could know them, and a prediction that needs
        them says so. A family that has hardly any others gives no error.
        """
        import numpy as np

        errors = []
        families = [entry.family for entry in self._observations]
        for family in dict.fromkeys(families):
            rest = [i for i, name in enumerate(families) if name != family]
            theta = self.solve(rest, width)
            known = {_kind_of(k) for i in rest for k in self._observations[i].kernels}
            for i in (i for i, name in enumerate(families) if name == family):
                entry, rows = self._observations[i], np.exp(self._rows(theta, [i]))
                if not entry.timed_kernels:
                    errors.append(math.log(float(rows[0]) / entry.latency_s))
                    continue
                kept = np.array([kind in known for kind in self._kinds(i)])
                measured = np.exp(self._targets[i])[1:]
                if measured[kept].sum() >= _KNOWN_SHARE * entry.latency_s:
                    errors.append(math.log(float(rows[1:][kept].sum() / measured[kept].sum())))
        return tuple(errors)


def _kind_of(kernel: Kernel) -> tuple[str, str, str, bool]:
    return kernel.kernel_class, kernel.op_type.removeprefix("Fused"), kernel.precision, grouped(kernel)


def _kind(name: str, rates: Sequence[Rate]) -> str:
    if name.startswith("row/"):
        return "row" if rates[int(name.removeprefix("row/"))].macs_per_cycle else "bytewise row"
    return name.rpartition("/")[2] if name.endswith("/unaligned") else "shape" if name.count("/") == 2 else ""


def _measured(entry: Observation) -> list[float]:
    return [entry.latency_s, *(entry.kernel_times_s[i] or 0.0 for i in entry.timed_kernels)]


def _weights(entry: Observation) -> NDArray[np.float64]:
    import numpy as np

    times = [entry.kernel_times_s[i] or _KERNEL_MIN_S for i in entry.timed_kernels]
    return np.array([1.0 / _NOISE, *(1.0 / math.hypot(_KERNEL_NOISE, _KERNEL_NOISE_S / t) for t in times)])


def _bounds(entry: Observation) -> NDArray[np.float64]:
    import numpy as np

    return np.array([_NO_BOUND, *[_OUTLIER] * len(entry.timed_kernels)])


def _cost(
    theta: NDArray[np.float64],
    weighted: NDArray[np.float64],
    prior: NDArray[np.float64],
    bounds: NDArray[np.float64],
) -> float:
    import numpy as np

    size = np.abs(weighted)
    huber = np.where(size <= bounds, size**2, 2 * bounds * size - bounds**2)
    return float(huber.sum() + ((theta / prior) ** 2).sum())
