"""The table of scripts/bench/compression over passes: for each one the form that shows it best, of all models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compression_sets import SETS
from edgeloop.compress.passes import BUILTIN
from edgeloop.compress.recipe_file import load_recipes

HEADS = ("pass", "model, form", "quality", "MB", "speed-up, at least", "build s")


def shown_by() -> dict[str, list[tuple[str, str]]]:
    """Return set and form of every recipe with the pass; what it stands in alone comes first."""
    found: dict[str, list[tuple[int, str, str]]] = {name: [] for name in BUILTIN}
    for one in SETS.values():
        for recipe in load_recipes(Path(one.recipes)):
            for step in recipe.passes:
                found[step.name].append((len(recipe.passes), one.name, recipe.label))
    return {name: [(who, label) for _, who, label in sorted(forms)] for name, forms in found.items()}


def row(name: str, forms: list[tuple[str, str]], root: Path) -> tuple[list[str], bool]:
    """Return the row of a pass, of its first form that was built and judged, and whether there was one."""
    reason = "no form has it"
    for who, label in forms:
        found, times = (load(root / who / f"{one}.json") for one in ("found", "times"))
        form, first = found.get(label, {}), found.get("original", {})
        reason = form.get("reason") or "not found out yet"
        # A form of which a pass was rolled back shows nothing of it.
        if "path" not in form or any(note.startswith(f"{name} was rolled back") for note in form["notes"]):
            continue
        quality = f"{first['quality']:.4f} -> {form['quality']:.4f}" if "quality" in form else "not labelled"
        time = times.get(label)
        cells = [name, f"{who}, {label}", quality, f"{first['size'] / 1e6:.3f} -> {form['size'] / 1e6:.3f}"]
        cells.append("not timed" if time is None else f"{time[0]:.2f}, {time[1]:.2f}")
        return [*cells, "cached" if form["build_s"] is None else f"{form['build_s']:.1f}"], True
    return [name, reason], False


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def show_passes(root: Path) -> bool:
    """Print the table; return whether every pass is shown."""
    made = [row(name, forms, root) for name, forms in shown_by().items()]
    rows = [list(HEADS), *(cells for cells, _ in made)]
    wide = [max(len(r[i]) for r in rows if len(r) > 2) for i in range(len(HEADS))] if made else []
    for line in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, wide, strict=False)).rstrip())
    return all(there for _, there in made)
