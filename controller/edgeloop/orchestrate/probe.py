"""Probes devices: sends small models, measures them, and keeps what they showed."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError, UnavailableError
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings, Trial

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import Listener
from edgeloop.domain.probe import ProbedFacts
from edgeloop.orchestrate.calibrate import keep_model
from edgeloop.orchestrate.fleet import open_each
from edgeloop.orchestrate.measure import MeasureRequest, OpenDevice, measure_device

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.calibrate.probe_models import ProbeModel

__all__ = ["PROBE_BENCHMARK", "grid_of", "probe", "profile_block"]

PROBE_BENCHMARK = Benchmark(
    rounds=6,
    warmup_count_min=3,
    warmup_s_min=0.03,
    warmup_s_max=0.3,
    sample_count_min=10,
    steady_s_max=1.2,
    batch_s=0.05,
    measure_memory=False,
    measure_nodes=False,
    check_parity=False,
)
"""Short blocks, several processes: the differences between processes are what an interval is made of."""

_GOLDEN_COUNT = 2
_THREADS = (1, 2, 4, 8)

Probed = tuple[DeviceSpec, ProbedFacts | None, str]
"""A device with its answers, or with the reason why there are none."""


async def probe(
    app: App, specs: Sequence[DeviceSpec], listener: Listener, benchmark: Benchmark = PROBE_BENCHMARK
) -> tuple[Probed, ...]:
    """Probe every device as soon as it is open, this machine last and alone.

    Raises:
        InvalidInputError: two devices of one name, or none.
    """
    from edgeloop.calibrate.probe_models import write_models

    listener.phase("Probe models")
    models = write_models(app.work_directory("probe"))
    digests = {
        model.name: await keep_model(app, model.path, listener, item_count=_GOLDEN_COUNT) for model in models
    }
    listener.phase("Probe the devices")

    async def one(spec: DeviceSpec, device: OpenDevice | EdgeloopError) -> Probed:
        try:
            if isinstance(device, EdgeloopError):
                raise device
            return spec, await _probe_one(app, device, models, digests, benchmark, listener), ""
        except EdgeloopError as error:
            return spec, None, str(error)

    return await open_each(app, specs, benchmark.seed, one)


async def _probe_one(
    app: App,
    device: OpenDevice,
    models: Sequence[ProbeModel],
    digests: dict[str, str],
    benchmark: Benchmark,
    listener: Listener,
) -> ProbedFacts:
    from edgeloop.calibrate.probe_fit import fit

    cores = device.facts.hardware.logical_cores
    threads = tuple(sorted({*(count for count in _THREADS if count <= cores), min(cores, _THREADS[-1])}))
    trials = _trials(models, digests, threads)
    request = MeasureRequest(
        experiment_id=f"probe-{uuid.uuid4().hex}",
        artifacts=tuple((name, digest) for name, digest in digests.items()),
        anchor="",
        settings=RuntimeSettings(),
        benchmark=benchmark,
        lease_wait_s=30.0,
        given_trials=trials,
    )
    result = await measure_device(app, device, request, listener)
    if not result.runs:
        raise UnavailableError(f"{device.spec.name} returned no run: {result.error or 'no reason given'}")
    answers = fit(models, result.runs, threads, wall_time_s=time.time(), duration_s=result.duration_s)
    answers = replace(answers, device_name=device.spec.name)
    await asyncio.to_thread(app.probes.put, answers)
    return answers


def _trials(
    models: Sequence[ProbeModel], digests: dict[str, str], threads: Sequence[int]
) -> tuple[Trial, ...]:
    from edgeloop.calibrate.probe_fit import trial_name
    from edgeloop.calibrate.probe_models import REFERENCE_CHANNELS

    scaled = (f"conv-{REFERENCE_CHANNELS}", "stream")
    wanted = [(model.name, 1) for model in models]
    wanted += [(name, count) for name in scaled for count in threads if count > 1]
    return tuple(
        Trial(
            trial_id=trial_name(name, count),
            label=trial_name(name, count),
            artifact_digest=digests[name],
            settings=RuntimeSettings(intra_op_threads=count),
        )
        for name, count in wanted
    )


def profile_block(name: str) -> int:
    """Return the largest group of channels that a board's profile states for ONNX Runtime; 1 where it states none.

    Raises:
        NotFoundError: no such profile.
        InvalidInputError: the profile is not in order, or has no ONNX Runtime.
    """
    from edgeloop_profiles import load_profile

    return max((rate.channel_block for rate in load_profile(name).runtime("onnxruntime").rates), default=1)


def grid_of(home: Path, name: str) -> int:
    """Return the grid of channels that a probed device of that name showed, or else that a board's profile states.

    ``sim:`` in front means the profile.

    Raises:
        InvalidInputError: the device was probed, and its grid stayed undecided; or the profile is not in order.
        NotFoundError: no device of that name was probed, and there is no such profile.
    """
    from edgeloop.store.probes import ProbeStore

    probed = None if name.startswith("sim:") else ProbeStore(home / "probes").named(name)
    if probed is None:
        try:
            return profile_block(name.removeprefix("sim:"))
        except NotFoundError as error:
            raise NotFoundError(
                f"no device {name!r} was probed, and {error.message}",
                next_step=f"Probe it first: edgeloop device facts --probe --on {name}",
            ) from error
    if probed.channel_block is None:
        raise InvalidInputError(
            f"the grid of {name} is undecided: {probed.block_reason}",
            next_step="Probe it again when it is idle, or give a number.",
        )
    return probed.channel_block
