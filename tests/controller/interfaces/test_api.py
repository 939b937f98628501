"""The public names of the Python API."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import pytest
from edgeloop.app import App
from edgeloop.interfaces import api
from edgeloop.interfaces.cli.main import _VERBS
from edgeloop_foundation.errors import AlreadyExistsError, NotFoundError
from edgeloop_protocol.types.artifact import FileEntry

_PUBLIC = [
    "Artifact",
    "Benchmark",
    "Candidate",
    "Comparison",
    "DeviceResult",
    "DeviceSpec",
    "Edgeloop",
    "ExperimentRequest",
    "ExperimentResult",
    "LatencyAssessment",
    "Listener",
    "PassSpec",
    "Plan",
    "Recipe",
    "RuntimeSettings",
    "SilentListener",
    "StateBinding",
    "SweepPlan",
    "Turn",
]


_METHODS = {
    "align_energy",
    "analyze",
    "artifacts",
    "assess",
    "availability",
    "bench",
    "calibrate",
    "clear_quarantine",
    "compare",
    "compress",
    "doctor",
    "drain",
    "evaluate",
    "explain_parity",
    "export",
    "facts",
    "fleet_devices",
    "fleet_status",
    "fleets",
    "get_artifact",
    "import_published",
    "keep_identities",
    "ladder",
    "package_artifact",
    "parity",
    "predict",
    "quarantine",
    "plan",
    "probe",
    "push_artifact",
    "report",
    "result",
    "run",
    "select",
    "set_cool_down",
    "standings",
    "start_fleet",
    "stop_fleet",
    "undrain",
    "validate",
    "with_turn",
    "write_report",
}


def test_the_public_names_are_pinned() -> None:
    assert api.__all__ == _PUBLIC
    for name in _PUBLIC:
        assert getattr(api, name) is not None


def test_every_verb_is_a_method() -> None:
    methods = {name for name, _ in inspect.getmembers(api.Edgeloop, inspect.isfunction) if name[0] != "_"}
    other_names = {
        "artifact": {"artifacts", "get_artifact", "package_artifact", "push_artifact"},
        "ca": {"keep_identities"},
        "device": {
            "facts",
            "doctor",
            "standings",
            "drain",
            "undrain",
            "set_cool_down",
            "probe",
            "calibrate",
            "quarantine",
            "clear_quarantine",
        },
        "energy": {"align_energy"},
        "init": set(),
        "profile": set(),
        # Releases are for people and their keys.
        "release": set(),
        "deploy": set(),
        "deployment": set(),
        "audit": set(),
        # These have an object of their own, "shipping".
        "rollout": set(),
        "certificate": set(),
        # Of a server, which has an object of its own, "Server".
        "queue": set(),
        # These are for people at a terminal; programs ask the HTTP API of "serve".
        "telemetry": set(),
        "alerts": set(),
        "model": set(),
        "serve": set(),
        "completion": set(),
        "sim": {"start_fleet", "fleets", "fleet_status", "stop_fleet"},
        "import": {"import_published"},
    }
    for verb in _VERBS:
        assert other_names.get(verb, {verb}) <= methods
    assert methods == _METHODS


def test_a_silent_listener_is_a_listener() -> None:
    listener: api.Listener = api.SilentListener()
    listener.phase("a")
    listener.progress("a", 1, 2)
    listener.note("a")


def test_a_kept_artifact_is_copied_out_once_by_the_beginning_of_its_digest(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights")
    entry = FileEntry(name="model.onnx", digest=hashlib.sha256(b"weights").hexdigest(), size_bytes=7)
    manifest = api.Artifact(
        format="onnx", label="a", files=(entry,), model_file="model.onnx", source_digest=entry.digest
    )
    with App.open(tmp_path / "home") as app:
        digest = app.artifacts.put(manifest, {"model.onnx": model})
    edgeloop = api.Edgeloop(tmp_path / "home")
    assert edgeloop.artifacts() == ((digest, manifest),)
    assert edgeloop.get_artifact(digest[:10], tmp_path / "out") == (digest, tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"weights"
    with (tmp_path / "out" / "model.onnx").open("ab") as copy:
        copy.write(b"mine")
    with App.open(tmp_path / "home") as app:
        assert (app.artifacts.directory(digest) / "model.onnx").read_bytes() == b"weights"
    with pytest.raises(AlreadyExistsError, match="exists already"):
        edgeloop.get_artifact(digest, tmp_path / "out")
    with pytest.raises(NotFoundError):
        edgeloop.get_artifact("f" * 12, tmp_path / "other")
