"""The public names of the Python API."""

from __future__ import annotations

import inspect

from edgeloop.interfaces import api
from edgeloop.interfaces.cli.main import _VERBS

_PUBLIC = [
    "Artifact",
    "Benchmark",
    "Candidate",
    "DeviceResult",
    "DeviceSpec",
    "Edgeloop",
    "ExperimentRequest",
    "ExperimentResult",
    "Listener",
    "PassSpec",
    "Plan",
    "Recipe",
    "RuntimeSettings",
    "SilentListener",
    "StateBinding",
]


def test_the_public_names_are_pinned() -> None:
    assert api.__all__ == _PUBLIC
    for name in _PUBLIC:
        assert getattr(api, name) is not None


def test_every_verb_is_a_method() -> None:
    methods = {name for name, _ in inspect.getmembers(api.Edgeloop, inspect.isfunction) if name[0] != "_"}
    other_names = {"artifact": {"artifacts", "get_artifact"}, "device": {"facts", "doctor"}, "init": set()}
    for verb in _VERBS:
        assert other_names.get(verb, {verb}) <= methods
    assert methods == {
        "analyze",
        "artifacts",
        "bench",
        "compare",
        "compress",
        "doctor",
        "facts",
        "get_artifact",
        "parity",
        "plan",
        "report",
        "result",
        "run",
        "select",
        "validate",
        "write_report",
    }


def test_a_silent_listener_is_a_listener() -> None:
    listener: api.Listener = api.SilentListener()
    listener.phase("a")
    listener.progress("a", 1, 2)
    listener.note("a")
