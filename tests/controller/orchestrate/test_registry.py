"""The registry joins what several stores know: manifests, tags, rollouts, what devices say, and runs."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.registry import Placed
from edgeloop.domain.rollout import DevicePhase, Rollout, RolloutDevice
from edgeloop.domain.rollout_plan import RolloutPlan, Wave
from edgeloop.orchestrate.registry import models, tag_artifact
from edgeloop.store.rollouts import RolloutStore
from edgeloop_protocol.types.artifact import Artifact, FileEntry
from edgeloop_protocol.types.deployment import DeploymentState, DeploymentStatus
from edgeloop_protocol.types.run import Outcome

from tests.controller.report import factory


def keep(app: App, label: str, source: str) -> str:
    path = app.state_directory / label
    path.write_text(label)
    entry = FileEntry(
        name="model.onnx", digest=hashlib.sha256(label.encode()).hexdigest(), size_bytes=len(label)
    )
    manifest = Artifact(
        format="onnx", label=label, files=(entry,), model_file="model.onnx", source_digest=source
    )
    return app.artifacts.put(manifest, {"model.onnx": path})


def rollout(digest: str, number: int, **phases: DevicePhase) -> Rollout:
    return Rollout(
        rollout_id=f"demo-{number}",
        plan=RolloutPlan(release="demo", waves=(Wave(rest=True),)),
        artifact_digest=digest,
        counter=number,
        devices=tuple(
            RolloutDevice(
                spec=DeviceSpec(name=name, transport="local"), wave=0, phase=phase, before_digest="9" * 64
            )
            for name, phase in phases.items()
        ),
        started_wall_s=float(number),
        since_wall_s=float(number),
    )


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App.open(tmp_path)


def test_the_registry_knows_what_the_stores_know(app: App) -> None:
    result = factory.experiment()
    source = result.model.digest
    old, new = keep(app, "original", source), keep(app, "int8", source)
    run = next(r for r in result.devices[0].runs if r.outcome is Outcome.SUCCESS)
    own = replace(run, trial=replace(run.trial, artifact_digest=new))
    device = replace(result.devices[0], runs=(own,), evidence=(), strategy=None)
    app.records.finish(replace(result, devices=(device,)))
    tag_artifact(app, new[:10], "prod")
    store = RolloutStore(app.state_directory)
    store.save(
        rollout(old, 1, a=DevicePhase.HELD, b=DevicePhase.HELD, c=DevicePhase.HELD, d=DevicePhase.HELD)
    )
    store.save(rollout(new, 2, a=DevicePhase.HELD, b=DevicePhase.BACK, c=DevicePhase.WAITING))
    said = DeploymentStatus(
        name="demo", state=DeploymentState.COMMITTED, current_digest=new, current_counter=2
    )

    (model,) = models(app, {"d": (said,)})
    app.close()

    assert model.name == result.model.name
    first, second = model.versions
    assert (first.digest, first.number, first.label, first.tags, first.run_count) == (
        old,
        1,
        "original",
        (),
        0,
    )
    assert (second.digest, second.tags, second.run_count, second.error_count) == (new, ("prod",), 1, 0)
    assert second.last_run_wall_s == own.started_wall_s
    assert first.placed == (Placed(device="c", deployment="demo", known_from="demo-1"),)
    assert second.placed == (
        Placed(device="a", deployment="demo", known_from="demo-2"),
        Placed(device="d", deployment="demo", known_from="device"),
    )


def test_a_model_without_an_experiment_has_a_name_still(app: App) -> None:
    keep(app, "alone", "7" * 64)
    assert [model.name for model in models(app)] == ["alone 777777777777"]
    app.close()
