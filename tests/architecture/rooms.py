"""Where the product's sources are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = {
    "edgeloop_foundation": ROOT / "protos" / "edgeloop_foundation",
    "edgeloop_protocol": ROOT / "protos" / "edgeloop_protocol",
    "edgeloop_profiles": ROOT / "device_profiles" / "edgeloop_profiles",
    "edgeloop_agent": ROOT / "device_agent" / "edgeloop_agent",
    "edgeloop": ROOT / "controller" / "edgeloop",
}

HELPERS = ("runner", "trust", "enrol", "discover", "serving")
"""Rooms of the agent that run in processes of their own."""


def module_name(path: Path) -> str:
    """Return the dotted name of a source file."""
    package, folder = next((p, f) for p, f in PACKAGES.items() if f in path.parents)
    parts = (package, *path.relative_to(folder).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(*packages: str) -> list[Path]:
    """Return every source file of these packages, or of all; generated ones are left out."""
    folders = [PACKAGES[p] for p in packages or PACKAGES]
    return sorted(p for folder in folders for p in folder.rglob("*.py") if "_pb2" not in p.name)


def daemon_modules() -> list[str]:
    """Return the modules of the agent that live in the daemon."""
    names = [module_name(p) for p in sources("edgeloop_agent")]
    helpers = tuple(f"edgeloop_agent.{helper}" for helper in HELPERS)
    return [n for n in names if not n.startswith(helpers) or n == "edgeloop_agent.runner_process"]


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
