"""How somebody else's typed program uses edgeloop; scripts/check holds it against mypy strict, nothing runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.experiment import ExperimentRequest, ExperimentResult
from edgeloop.domain.strategy import Decision
from edgeloop.interfaces.api import Edgeloop
from edgeloop.report import render, write_report
from edgeloop.store.artifacts import ArtifactDirectory
from edgeloop.store.records import RecordStore
from edgeloop_foundation.errors import EdgeloopError
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.run import SpooledRun


def run(model: Path, state: Path) -> dict[str, str]:
    request = ExperimentRequest(
        model=str(model),
        devices=(DeviceSpec.parse("desk=local"), DeviceSpec.parse("pi=sim:raspberry_pi_5")),
        require=("latency_p95 < 30ms",),
    )
    edgeloop = Edgeloop(state)
    result: ExperimentResult = edgeloop.run(request)
    again: ExperimentResult = edgeloop.select(result.experiment_id, prefer="size")
    page: Path = edgeloop.write_report(again, state / "report")
    answers: dict[str, str] = {str(page): ""}
    for device in again.devices:
        if device.strategy is not None and device.strategy.decision is Decision.THIS_ONE:
            latency: float | None = device.evidence[0].value("latency_p50").value
            answers[device.device.name] = f"{device.strategy.candidate} {latency}"
    return answers


def keep(
    root: Path, spooled: SpooledRun, manifest: Artifact, files: Mapping[str, Path]
) -> ExperimentResult | None:
    store = RecordStore.open(root / "records.sqlite")
    artifacts = ArtifactDirectory(root / "artifacts")
    try:
        digest: str = artifacts.put(manifest, files)
        new: bool = store.ingest(spooled, "desk")
        result = store.result("latest")
        text: str = render(result, "markdown", store.samples)
        index: Path = write_report(result, root / text[:1], store.samples)
    except EdgeloopError as error:
        reason: str = f"{error.message} {error.next_step}"
        raise SystemExit(reason) from error
    finally:
        store.close()
    copy: Artifact = from_json(to_canonical_json(manifest), Artifact)
    return result if new and digest and index and copy == manifest else None
