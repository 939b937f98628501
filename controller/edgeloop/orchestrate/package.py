"""An artifact as a directory that stands alone: the model, its card, its golden pack and the lines that run it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_foundation.errors import NotFoundError

from edgeloop.domain.experiment import ExperimentResult

if TYPE_CHECKING:
    from edgeloop_protocol.types.artifact import Artifact

    from edgeloop.app import App

__all__ = ["package_artifact"]

_PREPROCESSING = "preprocessing.py"


def package_artifact(
    app: App, artifact: str, directory: Path, *, licence: str = "", preprocessing: Path | None = None
) -> str:
    """Write the package of a kept artifact into a new directory and return the artifact's digest.

    Args:
        app: the stores.
        artifact: digest, or the beginning of it.
        directory: must not be there yet.
        licence: as the user states it; nothing is guessed.
        preprocessing: a Python file of the user's that makes the model's inputs from raw data; copied, never run.

    Raises:
        NotFoundError: no such artifact or file.
        UnsupportedError: the artifact is not ONNX or has no golden pack.
        AlreadyExistsError: the directory is there already.
    """
    from edgeloop.report.card import Card, card_markdown, card_tree
    from edgeloop.report.run_lines import processing_module, run_program

    digest = app.artifacts.find(artifact)
    manifest = app.artifacts.manifest(digest)
    lines = run_program(manifest)
    if preprocessing is not None and not preprocessing.is_file():
        raise NotFoundError(
            f"{preprocessing} is not a file.", next_step="Name the Python file that prepares raw data."
        )
    app.artifacts.copy_to(digest, directory)
    card = Card(
        digest=digest,
        manifest=manifest,
        results=_results(app, digest),
        licence=licence,
        files=_files(manifest, digest, preprocessing),
        lines=lines,
    )
    (directory / "run.py").write_text(lines, encoding="utf-8")
    (directory / "processing.py").write_text(processing_module(manifest), encoding="utf-8")
    (directory / "README.md").write_text(card_markdown(card), encoding="utf-8")
    tree = json.dumps(card_tree(card), indent=2, ensure_ascii=False, allow_nan=False)
    (directory / "card.json").write_text(tree + "\n", encoding="utf-8")
    if preprocessing is not None:
        shutil.copyfile(preprocessing, directory / _PREPROCESSING)
    return digest


def _results(app: App, digest: str) -> tuple[ExperimentResult, ...]:
    """Return the finished experiments that had the artifact as a candidate, newest first."""
    finished = [e.experiment_id for e in app.records.experiments() if e.status == "finished"]
    results = (app.records.result(name) for name in finished)
    return tuple(r for r in results if any(c.artifact_digest == digest for c in r.candidates))


def _files(manifest: Artifact, digest: str, preprocessing: Path | None) -> tuple[tuple[str, str], ...]:
    expanded = [expansion.made for expansion in manifest.expansions]
    listed = [(e.name, f"{e.size_bytes} bytes, SHA-256 {e.digest}") for e in (*manifest.files, *expanded)]
    listed.append(("manifest.json", f"the manifest; its SHA-256 is the artifact's name, {digest}"))
    listed += [
        ("run.py", "the lines above"),
        ("processing.py", "arrays into the declared inputs, decisions out of the outputs"),
        ("card.json", "the figures of this page for machines"),
    ]
    if preprocessing is None:
        listed.append(
            ("(none)", "no preprocessing of raw data was given: inputs are arrays as declared above")
        )
    else:
        found = hashlib.sha256(preprocessing.read_bytes()).hexdigest()
        listed.append((_PREPROCESSING, f"makes the inputs from raw data, as given; SHA-256 {found}"))
    return tuple(listed)
