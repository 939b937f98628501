"""A fit as a profile: fitted figures say so, and the calibration says how far they carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edgeloop_profiles.predict import family_shares
from edgeloop_profiles.profile import CalibratedFamily, Calibration, Profile, RuntimeModel

from edgeloop.calibrate.conformal import conformal_factor
from edgeloop.calibrate.fit import Fit, Observation, predict

__all__ = ["calibrated"]

_UNSEEN_FAMILY = 2.0
"""With one family only, nothing is known of others: the factor's logarithm is doubled."""


def calibrated(
    fit: Fit,
    observations: Sequence[Observation],
    *,
    runtime: str,
    runtime_version: str,
    device_id: str,
    date: str,
) -> Profile:
    """Return the fitted profile with what its figures were fitted to.

    Args:
        fit: from ``fit``.
        observations: what it was fitted to, in the same order.
        runtime: name of the runtime.
        runtime_version: version that was measured.
        device_id: device that was measured.
        date: day of the measurement.
    """
    source = (
        f"fitted by {fit.method} to {len(observations)} measurements on {device_id} with {runtime} "
        f"{runtime_version} on {date}"
    )
    within = conformal_factor(fit.held_out_log_errors)
    beyond = (
        conformal_factor(fit.family_log_errors)
        if fit.family_log_errors
        else math.exp(_UNSEEN_FAMILY * math.log(within))
    )
    apes = [abs(math.expm1(error)) for error in fit.held_out_log_errors]
    calibration = Calibration(
        kind="fitted",
        source=source,
        runtime=runtime,
        runtime_version=runtime_version,
        device_id=device_id,
        date=date,
        method=fit.method,
        model_count=len({entry.model for entry in observations}),
        held_out_mape=sum(apes) / len(apes),
        in_family_factor=within,
        out_of_family_factor=max(within, beyond),
        fastest_s=min(entry.latency_s for entry in observations),
        slowest_s=max(entry.latency_s for entry in observations),
        precisions=tuple(sorted({k.precision for e in observations for k in e.kernels if k.macs})),
        threads=tuple(sorted({entry.threads for entry in observations})),
        families=tuple(_families(fit.profile, runtime, observations)),
    )
    profile = fit.profile
    return replace(
        profile,
        calibration=calibration,
        runtimes=tuple(
            _marked(model, source, runtime_version) if model.name == runtime else model
            for model in profile.runtimes
        ),
        bandwidth=replace(profile.bandwidth, kind="fitted", source=source),
        caches=replace(profile.caches, kind="fitted", source=f"bytes per cycle {source}; sizes as before"),
    )


def _families(
    profile: Profile, runtime: str, observations: Sequence[Observation]
) -> Sequence[CalibratedFamily]:
    seen: dict[str, CalibratedFamily] = {}
    for entry in observations:
        times = predict(profile, runtime, entry).kernels
        shares = family_shares((time.kernel.kernel_class, time.time_s) for time in times)
        seen.setdefault(entry.family, CalibratedFamily(name=entry.family, shares=shares))
    return list(seen.values())


def _marked(model: RuntimeModel, source: str, version: str) -> RuntimeModel:
    return replace(
        model,
        kind="fitted",
        source=source,
        version=version,
        rates=tuple(replace(rate, kind="fitted", source=source) for rate in model.rates),
        overheads=replace(model.overheads, kind="fitted", source=source),
        threads=replace(model.threads, kind="fitted", source=source),
    )
