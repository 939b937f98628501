"""A built model as an artifact: flat file names, a golden pack, and a manifest with nothing left open."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_protocol.types.artifact import FILE_NAME, Artifact, Expansion, FileEntry, Tolerance

from edgeloop.compress.graph import digest_of_files, external_locations, external_tensors, load_model
from edgeloop.compress.items import check_items, first_feed
from edgeloop.compress.libraries import library_versions
from edgeloop.compress.lowering import NO_LOWERING, lower
from edgeloop.compress.packed import pack
from edgeloop.domain.dataset import Dataset
from edgeloop.domain.model import ModelDescription
from edgeloop.domain.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["NO_DECISION", "Decision", "GoldenWriter", "ToleranceTable", "file_entry", "package"]

MODEL_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
PACKED_FILE = "model.packed"
_RESERVED = (MODEL_FILE, GOLDEN_FILE, PACKED_FILE, "manifest.json")

_AT_REST, _HALVED = "int4_at_rest", "convert_fp16"
"""The pass whose effect is in the form that travels, and the one whose arithmetic differs by device."""

_EXACT = ("fp32", "fp16")

ToleranceTable = Callable[[str], tuple[tuple[str, Tolerance], ...]]
"""Precision -> tolerances against "host" and "original"."""

GoldenWriter = Callable[
    [Path, Dataset, "Mapping[str, NDArray[np.generic]]", "Mapping[str, NDArray[np.generic]]"], None
]
"""``write(path, data, host outputs, original outputs)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How decisions are read from the outputs; empty names when there are none."""

    #: Output that decisions are read from.
    output: str = ""
    #: "argmax" or "threshold".
    rule: str = ""
    #: Threshold of the "threshold" rule.
    threshold: float = 0.5


NO_DECISION = Decision()
"""Outputs that nothing is decided from."""


def package(
    model_path: Path,
    description: ModelDescription,
    *,
    label: str,
    recipe: Recipe,
    source_digest: str,
    directory: Path,
    golden: Dataset,
    host: Mapping[str, NDArray[np.generic]],
    original: Mapping[str, NDArray[np.generic]],
    decision: Decision,
    tolerances_for: ToleranceTable,
    write_golden: GoldenWriter,
    approximate: bool = False,
) -> tuple[Artifact, dict[str, Path]]:
    """Write the artifact's files into ``directory`` and return its manifest and the path of each file by
    name.

    Args:
        model_path: What was built.
        description: Description of ``model_path``.
        label: Name for people.
        recipe: The passes whose effect is in the model.
        source_digest: Digest of the model as the user gave it.
        directory: Where the files go; created when missing.
        golden: Reference inputs.
        host: The built model's outputs for them on this host.
        original: The unmodified model's outputs for them.
        decision: How decisions are read.
        tolerances_for: Tolerance policy.
        write_golden: Writes the golden pack.
        approximate: Whether a pass moved the answers on purpose: decisions are then held against the original.

    Raises:
        InvalidInputError: the golden inputs do not fit the model, or it fails on them.
    """
    check_items(golden, description.inputs)
    directory.mkdir(parents=True, exist_ok=True)
    is_onnx = description.format == "onnx"
    model_file = MODEL_FILE if is_onnx else f"model.{description.format}"
    files = _copy_model(model_path, directory) if is_onnx else _copy_whole(model_path, directory / model_file)
    write_golden(directory / GOLDEN_FILE, golden, host, original)
    files[GOLDEN_FILE] = directory / GOLDEN_FILE
    # Kernel tables come from a run of ONNX Runtime: other formats have none, so no board predicts them.
    feed = first_feed(golden, description.inputs)
    lowering = lower(directory / model_file, feed) if is_onnx else NO_LOWERING
    precision = lowering.precision if is_onnx else description.precision
    expansions = _packed(recipe, files, directory)
    artifact = Artifact(
        format=description.format,
        label=label,
        expansions=expansions,
        files=tuple(file_entry(name, files[name]) for name in sorted(files)),
        model_file=model_file,
        golden_file=GOLDEN_FILE,
        source_digest=source_digest,
        recipe=recipe.canonical(),
        precision=precision,
        opsets=description.opsets,
        inputs=description.inputs,
        outputs=description.outputs,
        state=description.state,
        decision_output=decision.output,
        decision_rule=decision.rule,
        decision_threshold=decision.threshold,
        tolerances=_tolerances(precision, recipe, approximate, tolerances_for),
        kernels=lowering.kernels,
        activation_peak_bytes=lowering.activation_peak_bytes,
        weight_bytes=lowering.weight_bytes,
        libraries=library_versions(),
    )
    return artifact, files


def _tolerances(
    precision: str, recipe: Recipe, approximate: bool, table: ToleranceTable
) -> tuple[tuple[str, Tolerance], ...]:
    """Return the policy of a precision; against the original, that of int8 where weights were rounded to four bits.

    Such a model computes as exactly as any other of its precision, but its weights are no longer the original's. Halves
    that this host computes in float32 may be halves on a device. Where answers were moved on purpose it is that of
    "mixed".
    """
    halved = precision == "fp32" and any(step.name == _HALVED for step in recipe.passes)
    policy = dict(table("fp16" if halved else precision))
    if precision in _EXACT and any(step.name == _AT_REST for step in recipe.passes):
        policy["original"] = dict(table("int8"))["original"]
    if approximate:
        policy["original"] = dict(table("mixed"))["original"]
    return tuple(policy.items())


def _packed(recipe: Recipe, files: dict[str, Path], directory: Path) -> tuple[Expansion, ...]:
    """Replace the model among the files by its packed form where the recipe asks for it and it is smaller."""
    asked = any(step.name == _AT_REST for step in recipe.passes)
    if not asked or not pack(files[MODEL_FILE], directory / PACKED_FILE):
        return ()
    made = file_entry(MODEL_FILE, files.pop(MODEL_FILE))
    files[PACKED_FILE] = directory / PACKED_FILE
    (directory / MODEL_FILE).unlink()
    return (Expansion(made=made, source=PACKED_FILE),)


def file_entry(name: str, path: Path) -> FileEntry:
    """Return a file's place in a manifest, under ``name``."""
    return FileEntry(name=name, digest=digest_of_files(path, ()), size_bytes=path.stat().st_size)


def _copy_whole(model_path: Path, target: Path) -> dict[str, Path]:
    shutil.copyfile(model_path, target)
    return {target.name: target}


def _copy_model(model_path: Path, directory: Path) -> dict[str, Path]:
    """Copy the model as ``model.onnx`` and its external data under flat names; its bytes change only if
    names do."""
    proto = load_model(model_path)
    locations = external_locations(proto, model_path)
    names = _flat_names(locations)
    files = {MODEL_FILE: directory / MODEL_FILE}
    for location, name in names.items():
        shutil.copyfile(model_path.parent / location, directory / name)
        files[name] = directory / name
    if all(location == name for location, name in names.items()):
        shutil.copyfile(model_path, directory / MODEL_FILE)
        return files
    for tensor in external_tensors(proto):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = names[entry.value]
    (directory / MODEL_FILE).write_bytes(proto.SerializeToString())
    return files


def _flat_names(locations: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    taken = set(_RESERVED)
    for index, location in enumerate(locations):
        name = location
        if not FILE_NAME.fullmatch(location) or location in taken:
            tail = re.sub(r"[^a-z0-9._-]+", "-", location.rpartition("/")[2].lower())[-80:]
            name = f"data-{index}-{tail}"
        names[location] = name
        taken.add(name)
    return names
