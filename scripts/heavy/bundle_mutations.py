"""Ways to change signed metadata: a character, its end, its numbers, its signatures, its structure."""

from __future__ import annotations

import json
import random
from collections.abc import Callable


def mutations(text: str) -> list[Callable[[random.Random], str]]:
    def flip(draw: random.Random) -> str:
        at = draw.randrange(len(text))
        return text[:at] + chr(33 + (ord(text[at]) - 32) % 90) + text[at + 1 :]

    def cut(draw: random.Random) -> str:
        return text[: draw.randrange(len(text))]

    def number(draw: random.Random) -> str:
        tree = json.loads(text)
        tree["signed"]["version"] = draw.choice([0, -1, 1, 10**9, "2", None, 2.5])
        return json.dumps(tree)

    def unsigned(draw: random.Random) -> str:
        tree = json.loads(text)
        tree["signatures"] = []
        return json.dumps(tree)

    return [flip, cut, number, unsigned]


def json_equal(one: str, other: str) -> bool:
    """Whether two texts are the same metadata: what is signed is the value, not its spelling."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False
