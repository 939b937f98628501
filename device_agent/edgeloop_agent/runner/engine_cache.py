"""Engines that a runtime builds on the device, kept from run to run.

An engine is valid for exactly what it was built from and on. Its name is the digest of all of that; beside it lies a
JSON file with the same facts and the digest of the engine's bytes. Anything that differs is built anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["ENGINE_CACHE", "CachedEngine", "EngineIdentity", "cache_directory", "find", "keep", "key_of"]

ENGINE_CACHE = "EDGELOOP_ENGINE_CACHE"
"""Environment variable of the agent: the directory where engines are kept."""

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineIdentity:
    """Everything that an engine depends on.

    Raises:
        ValueError: a fact is missing.
    """

    #: SHA-256 of every file of the artifact, by name; external weights are files too.
    file_digests: tuple[tuple[str, str], ...]
    #: File that is built, for example "model.onnx".
    model_file: str
    #: Version of the runtime that builds.
    runtime_version: str
    #: Name of the processor that it is built for.
    gpu_name: str
    #: Its compute capability, for example "8.7".
    compute_capability: str
    #: Version of its driver.
    driver_version: str
    #: "fp32" or "fp16".
    precision: str
    #: Least, usual and greatest shape of each input, sorted by name.
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...]
    #: Further options that the builder was given, sorted.
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if missing := [name for name, value in asdict(self).items() if not value and name != "options"]:
            raise ValueError(f"an engine's identity needs {', '.join(missing)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedEngine:
    """An engine that was found, or why there is none."""

    #: The engine's bytes; None when there is none that fits.
    content: bytes | None = None
    #: Seconds that building it took when it was built.
    build_s: float | None = None
    #: Why there is none.
    reason: str = ""


def key_of(identity: EngineIdentity) -> str:
    """Return the SHA-256 of an identity: the engine's name."""
    return hashlib.sha256(_canonical(identity)).hexdigest()


def cache_directory(environment: Mapping[str, str], scratch: Path) -> tuple[Path, str]:
    """Return where engines are kept, and what to say when they do not outlive this process.

    Args:
        environment: the runner's.
        scratch: the runner's own directory, emptied when it ends.
    """
    if named := environment.get(ENGINE_CACHE, ""):
        return Path(named), ""
    return scratch / "engines", f"{ENGINE_CACHE} is not set: the engine is built anew for every process"


def find(directory: Path, identity: EngineIdentity) -> CachedEngine:
    """Return the engine of this identity if it lies there whole and unchanged."""
    engine, facts = _paths(directory, identity)
    try:
        recorded = json.loads(facts.read_bytes())
        content = engine.read_bytes()
    except FileNotFoundError:
        return CachedEngine(reason="no engine has been built for this model on this device yet")
    except (OSError, ValueError) as error:
        return CachedEngine(reason=f"the kept engine cannot be read: {type(error).__name__}")
    if reason := _mismatch(recorded, identity, content):
        return CachedEngine(reason=reason)
    return CachedEngine(content=content, build_s=float(recorded["build_s"]))


def keep(directory: Path, identity: EngineIdentity, content: bytes, build_s: float) -> str:
    """Keep an engine; return why that was not possible, empty when it was."""
    engine, facts = _paths(directory, identity)
    recorded = {
        "schema": _SCHEMA,
        "identity": json.loads(_canonical(identity)),
        "engine_digest": hashlib.sha256(content).hexdigest(),
        "build_s": build_s,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # The facts come last: an engine without them is none.
        facts.unlink(missing_ok=True)
        _replace(engine, content)
        _replace(facts, json.dumps(recorded, sort_keys=True).encode())
    except OSError as error:
        return f"the engine could not be kept: {error.strerror or type(error).__name__}"
    return ""


def _mismatch(recorded: object, identity: EngineIdentity, content: bytes) -> str:
    """Return why recorded facts do not speak for this engine; empty when they do."""
    if not isinstance(recorded, dict) or recorded.get("schema") != _SCHEMA:
        return "the kept engine's facts have another layout"
    if recorded.get("identity") != json.loads(_canonical(identity)):
        return "the kept engine was built from or for something else"
    if recorded.get("engine_digest") != hashlib.sha256(content).hexdigest():
        return "the kept engine's content has changed"
    build_s = recorded.get("build_s")
    if isinstance(build_s, bool) or not isinstance(build_s, int | float) or not build_s > 0:
        return "the kept engine's facts lack the time of building"
    return ""


def _canonical(identity: EngineIdentity) -> bytes:
    return json.dumps(asdict(identity), sort_keys=True, separators=(",", ":")).encode()


def _paths(directory: Path, identity: EngineIdentity) -> tuple[Path, Path]:
    key = key_of(identity)
    return directory / f"{key}.engine", directory / f"{key}.json"


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old one or the whole new one."""
    draft = path.with_suffix(f"{path.suffix}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
