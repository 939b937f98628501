"""A judgement for people: the metric, each class, what was taken for what, how steady the numbers are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeloop.interfaces.present import print_table, print_text

if TYPE_CHECKING:
    from edgeloop.domain.judgement import Judgement
    from edgeloop.domain.quality import Quality

__all__ = ["print_judgement"]

_CONFUSIONS = 15
"""Pairs in the table; --json has all."""


def print_judgement(judgement: Judgement, beside: bool) -> None:
    """Print a judgement; ``beside`` when another model was named."""
    print_table(["", judgement.model], _quality_rows(judgement.quality, beside))
    if judgement.classes:
        columns = ("class", "items", "precision", "recall", "F1")
        rows = [
            (str(c.label), str(c.support), *(_share(v) for v in (c.precision, c.recall, c.f1)))
            for c in judgement.classes
        ]
        print_table(columns, rows, "Classes")
    if judgement.confusions:
        shown = judgement.confusions[:_CONFUSIONS]
        print_table(
            ("is", "decided", "items"),
            [(str(c.label), str(c.decided), str(c.count)) for c in shown],
            "Confusions",
        )
        if len(shown) < len(judgement.confusions):
            print_text(f"  {len(judgement.confusions) - len(shown)} further pairs are in --json.")
    headings = ("output", "values", "NaN", "infinite", "largest", "alone against in a batch", "run again")
    steady = [
        (
            s.output,
            str(s.value_count),
            str(s.nan_count),
            str(s.infinite_count),
            "n/a" if s.largest is None else f"{s.largest:.4g}",
            "takes no batches" if s.batch_difference is None else f"{s.batch_difference:.2g} relative",
            "same bits" if s.repeatable else "DIFFERS",
        )
        for s in judgement.stability
    ]
    print_table(headings, steady, "Stability")


def _quality_rows(quality: Quality, beside: bool) -> list[tuple[str, str]]:
    from edgeloop.report.units import amount, interval

    rows = [
        (quality.metric, f"{amount(quality.value.value, 'ratio')} ({interval(quality.value, 'ratio')})"),
        ("items", f"{quality.item_count} of {quality.group_count} sources"),
    ]
    if beside:
        rows.append(("drop", f"{amount(quality.drop.value, 'ratio')} ({interval(quality.drop, 'ratio')})"))
    if beside and quality.retention is not None:
        kept = quality.retention
        rows.append(("retention", f"{amount(kept.value, 'ratio')} ({interval(kept, 'ratio')})"))
    if beside and quality.agreement is not None:
        rows.append(("decides alike", amount(quality.agreement, "ratio")))
    if beside and quality.mcnemar_p is not None:
        rows.append(("McNemar p", f"{quality.mcnemar_p:.3g}"))
    return rows


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
