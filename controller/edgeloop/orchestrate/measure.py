"""Takes the candidates to one device and brings its runs back."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import EdgeloopError, NotFoundError
from edgeloop_protocol.types.facts import Facts
from edgeloop_protocol.types.job import JobEvent
from edgeloop_protocol.types.run import Run, SpooledRun
from edgeloop_protocol.types.trial import Benchmark, JobSpec, RuntimeSettings, Trial

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import DeviceResult, Listener
from edgeloop.orchestrate.budget import job_deadline_s, runner_deadline_s
from edgeloop.orchestrate.leasing import leased

if TYPE_CHECKING:
    from edgeloop.app import App
    from edgeloop.transport.base import Transport
    from edgeloop.transport.client import AgentClient

__all__ = ["MeasureRequest", "OpenDevice", "measure_device", "variant_label"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRequest:
    """What every device of an experiment is asked to do."""

    experiment_id: str
    #: Label and artifact digest, the anchor first.
    artifacts: tuple[tuple[str, str], ...]
    #: Label of the anchor; empty when nothing is paired.
    anchor: str
    settings: RuntimeSettings
    benchmark: Benchmark
    lease_wait_s: float
    context: tuple[tuple[str, str], ...] = ()
    #: Further settings, such as those of other runtimes, that every artifact is measured under too.
    variants: tuple[RuntimeSettings, ...] = ()
    #: Artifact, runtime and the artifact's form for it, where that runtime does not open the artifact itself; an empty
    #: form means that there is none, and no trial.
    forms: tuple[tuple[str, str, str], ...] = ()
    #: Trials to measure instead of one per artifact and settings.
    given_trials: tuple[Trial, ...] = ()

    def trials(self) -> tuple[Trial, ...]:
        """Return the given trials, or one per artifact and settings, those of ``settings`` first."""
        if self.given_trials:
            return self.given_trials
        forms = {(digest, runtime): form for digest, runtime, form in self.forms}
        return tuple(
            Trial(
                trial_id=variant_label(label, settings, self.settings),
                label=variant_label(label, settings, self.settings),
                artifact_digest=form,
                settings=settings,
                anchor=settings is self.settings and label == self.anchor,
            )
            for settings in (self.settings, *self.variants)
            for label, digest in self.artifacts
            if (form := forms.get((digest, settings.runtime), digest))
        )

    def pushed(self) -> tuple[tuple[str, str], ...]:
        """Return label and digest of every artifact that a trial opens, each once."""
        return tuple({t.artifact_digest: (t.label, t.artifact_digest) for t in self.trials()}.values())


def variant_label(label: str, settings: RuntimeSettings, first: RuntimeSettings) -> str:
    """Return the label of a trial: that of its artifact, and the runtime where it is not the first one."""
    return label if settings is first else f"{label} on {settings.runtime}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDevice:
    """A device whose agent answers."""

    spec: DeviceSpec
    transport: Transport
    client: AgentClient
    facts: Facts


async def measure_device(
    app: App, device: OpenDevice, request: MeasureRequest, listener: Listener
) -> DeviceResult:
    """Push, lease, benchmark, collect; an error of the device is a result too."""
    started = time.monotonic()
    sent = present = 0
    runs: tuple[Run, ...] = ()
    error = ""
    try:
        files = request.pushed()
        # A push would disturb whoever measures there; with nothing to send there is none.
        async with (
            leased(app, device.client, shared=True, wait_s=request.lease_wait_s, listener=listener)
            if await device.client.lacks([digest for _, digest in files], app.artifacts)
            else contextlib.nullcontext()
        ):
            for label, digest in files:
                pushed = await device.client.push_artifact(
                    digest, app.artifacts, _push_progress(device, label, listener)
                )
                sent, present = sent + pushed.sent_bytes, present + pushed.present_bytes
        runs = await _run_leased(app, device, request, listener)
    except EdgeloopError as failure:
        error, name = str(failure), device.spec.name
        listener.note(error if error.startswith(name) else f"{name}: {error}")
        # What was stored before the break is a result all the same.
        runs = await asyncio.to_thread(_stored, app, request.experiment_id, device.facts.device_id)
    return DeviceResult(
        device=device.spec,
        facts=device.facts,
        runs=runs,
        error=error,
        sent_bytes=sent,
        present_bytes=present,
        duration_s=time.monotonic() - started,
    )


def _stored(app: App, experiment_id: str, device_id: str) -> tuple[Run, ...]:
    try:
        return tuple(run for run in app.records.runs(experiment_id) if run.device_id == device_id)
    except NotFoundError:
        return ()


def _push_progress(device: OpenDevice, label: str, listener: Listener) -> _Push:
    return _Push(f"{device.spec.name}: send {label}", listener)


@dataclass(frozen=True, slots=True)
class _Push:
    """Progress callback of one push."""

    what: str
    listener: Listener

    def __call__(self, done: int, total: int) -> None:
        self.listener.progress(self.what, done, total, "B")


async def _run_leased(
    app: App, device: OpenDevice, request: MeasureRequest, listener: Listener
) -> tuple[Run, ...]:
    from edgeloop.transport.collect import run_job

    name = device.spec.name
    trials = request.trials()
    labels = {trial.trial_id: trial.label for trial in trials}

    def on_event(event: JobEvent) -> None:
        what = f"{name}: {event.phase or event.state.value} {labels.get(event.trial_id, '')}".rstrip()
        listener.progress(what, event.done_count, event.total_count)

    async def ingest(spooled: SpooledRun) -> bool:
        return await asyncio.to_thread(app.records.ingest, spooled, name)

    async def keep_samples(digest: str, data: bytes) -> None:
        await asyncio.to_thread(app.records.put_samples, digest, data)

    async with leased(app, device.client, wait_s=request.lease_wait_s, listener=listener) as lease:
        spec = JobSpec(
            request_id=str(uuid.uuid4()),
            lease_id=lease.lease_id,
            fencing_token=lease.fencing_token,
            trials=trials,
            benchmark=request.benchmark,
            deadline_s=job_deadline_s(request.benchmark, len(trials)),
            runner_deadline_s=runner_deadline_s(request.benchmark, len(trials)),
            experiment_id=request.experiment_id,
            context=request.context,
        )
        return await run_job(
            device.client, spec, ingest, on_event=on_event, store_samples=keep_samples, lost=lease.lost
        )
