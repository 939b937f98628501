"""The example's features are those of the package whose model they feed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeloop.evaluate.datasets.function import load_function

magika = pytest.importorskip("magika", reason="pip install magika==1.0.3")
EXAMPLE = Path(__file__).parents[3] / "examples" / "magika_files.py"


def example(function: str, **given: Any) -> Any:
    return load_function(f"{EXAMPLE}:{function}")(**given)


@pytest.mark.parametrize(
    "content",
    [
        b"  #!/bin/sh\necho 1\n\n",
        bytes(range(256)) * 3,
        b"\n" * 5000 + b"x" * 9000,
        b"a b c d e f g",
        b"y" * 4096,
    ],
)
def test_features_are_the_packages_own(content: bytes) -> None:
    from magika.types import Seekable

    config = json.loads((Path(example("model")).parent / "config.min.json").read_text())
    names = ("beg_size", "mid_size", "end_size", "padding_token", "block_size", "use_inputs_at_offsets")
    theirs = magika.Magika._extract_features_from_seekable(
        Seekable(io.BytesIO(content)), *(config[name] for name in names)
    )
    ours = example("features", content=content, config=config)
    if ours is None:
        assert theirs.beg[config["min_file_size_for_dl"] - 1] == config["padding_token"]
    else:
        assert ours.tolist() == [*theirs.beg, *theirs.end]


def test_the_choice_is_seeded_and_balanced() -> None:
    first, again = example("dataset", seed=3), example("dataset", seed=3)
    assert first.digest == again.digest
    assert len(first) >= 700
    assert first.labels is not None
    counts = np.bincount(first.labels.astype(int))
    assert (counts > 0).sum() >= 15
    assert counts.max() <= len(first) * 0.4
