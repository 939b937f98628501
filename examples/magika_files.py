"""Magika (file type detection) judged on the files of the running Python installation.

``edgeloop run examples/magika_files.py:model --data examples/magika_files.py:dataset
--on local --as-deployed`` (as it is: a machine that is not tuned is refused otherwise); needs ``pip install
magika==1.0.3``, whose wheel holds the model. Labels come from file extensions that belong to one content
type alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from edgeloop.domain.dataset import Dataset
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError
from numpy.typing import NDArray

__all__ = ["dataset", "features", "model"]

_MODEL = "models/standard_v3_3"
_FILES = 800
"""Files aimed at; the cap per content type rises until they are reached."""
_CAP_MIN = 20
_OBVIOUS = {"so": "elf", "pyi": "python"}
_LEFT_OUT = frozenset({"txt", "pth", "vbs", "html", "o"})
"""Extensions that do not tell the content here: any text, path files, templates."""
_SKIPPED = frozenset(
    {"__pycache__", "test", "tests", "testdata", "idle_test", "lib2to3", "templates", "licenses"}
)
"""Byte code comes and goes with use; test data is wrong on purpose; a template is of two types at once; a
licence is prose
whatever its name ends in."""


_PACKAGES = frozenset({"site-packages", "dist-packages"})


def _package(relative: str) -> Path:
    spec = importlib.util.find_spec("magika")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "this example needs the package 'magika', which is not installed.",
            next_step="Install it: pip install magika==1.0.3",
        )
    return Path(next(iter(spec.submodule_search_locations))) / relative


def model() -> str:
    """Return the path of the model file in the installed package."""
    return str(_package(f"{_MODEL}/model.onnx"))


def dataset(seed: int = 0, limit: int | None = None) -> Dataset:
    """Return at least 700 labelled files of the running installation, the same for the same installation
    and seed.

    Input ``bytes``: int32 ``[files, 2048]``, 1,024 from the beginning and 1,024 from the end, 256 for
    padding; label: index into the model's 214 content types.

    Raises:
        InvalidInputError: the installation has too few files of known types.
        MissingDependencyError: magika is not installed.
    """
    config = json.loads(_package(f"{_MODEL}/config.min.json").read_text())
    classes: list[str] = config["target_labels_space"]
    chosen = _choose(_by_label(_labels_by_extension(classes)), limit or _FILES, seed)
    rows, labels = [], []
    for label, path in chosen:
        row = features(path.read_bytes(), config)
        if row is not None:
            rows.append(row)
            labels.append(classes.index(label))
    if len(set(labels)) < 2:
        raise InvalidInputError(
            f"this Python installation has {len(rows)} files of known types; that is too few."
        )
    return Dataset(
        name="files of this Python installation",
        inputs={"bytes": np.stack(rows)},
        labels=np.asarray(labels, np.int64),
        task="classification",
        notes=(f"{len(rows)} files of {len(set(labels))} types, labels by extension",),
    )


def features(content: bytes, config: dict[str, Any]) -> NDArray[np.int32] | None:
    """Return what the magika package computes from a file's bytes; None for one too short to be given to
    the model.

    Whitespace is stripped from the first and from the last block of 4,096 bytes; what is missing to 1,024
    is padded, behind the beginning and before the end.
    """
    block, pad = config["block_size"], config["padding_token"]
    head = content[:block].lstrip()[: config["beg_size"]]
    tail = content[-block:].rstrip()[-config["end_size"] :]
    if len(content) < config["min_file_size_for_dl"] or len(head) < config["min_file_size_for_dl"]:
        return None
    row = np.full(config["beg_size"] + config["end_size"], pad, np.int32)
    row[: len(head)] = np.frombuffer(head, np.uint8)
    row[len(row) - len(tail) :] = np.frombuffer(tail, np.uint8)
    return row


def _labels_by_extension(classes: list[str]) -> dict[str, str]:
    known = json.loads(_package("config/content_types_kb.min.json").read_text())
    owners: dict[str, list[str]] = {}
    for label in classes:
        for extension in known[label]["extensions"]:
            owners.setdefault(extension, []).append(label)
    alone = {e: labels[0] for e, labels in owners.items() if len(labels) == 1 and e not in _LEFT_OUT}
    return alone | {e: label for e, label in _OBVIOUS.items() if label in classes}


def _by_label(labels: dict[str, str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in _files():
        label = labels.get(path.suffix[1:].lower())
        if label is not None:
            found.setdefault(label, []).append(path)
    return found


def _files() -> Iterator[Path]:
    for root in _roots():
        for folder, folders, names in os.walk(root):
            # Another environment's packages may lie inside the standard library; this one's are a root.
            folders[:] = sorted(f for f in folders if f not in _SKIPPED | _PACKAGES)
            paths = (Path(folder, name) for name in sorted(names) if not name.startswith("LICENSE"))
            yield from (path for path in paths if not path.is_symlink())


def _roots() -> list[str]:
    paths = sysconfig.get_paths()
    packages = [entry for entry in sys.path if Path(entry).name in _PACKAGES]
    roots = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")] + packages
    return sorted({os.path.realpath(root) for root in roots if Path(root).is_dir()})


def _choose(found: dict[str, list[Path]], wanted: int, seed: int) -> list[tuple[str, Path]]:
    """Return up to ``cap`` files of each type, the cap just high enough for ``wanted`` of them."""
    most = max((len(paths) for paths in found.values()), default=0)
    cap = _CAP_MIN
    while cap < most and sum(min(cap, len(paths)) for paths in found.values()) < wanted:
        cap += 5
    chosen = []
    for label in sorted(found):
        # A generator per type: a file more of one type moves no other type's choice.
        rng = random.Random(f"{seed} {label}")
        chosen += [(label, path) for path in rng.sample(found[label], min(cap, len(found[label])))]
    random.Random(seed).shuffle(chosen)
    return chosen
