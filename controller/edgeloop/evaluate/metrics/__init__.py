"""Task metrics, one file each, all of them weighted so that a bootstrap is one matrix of weights; and a user's own.

Law: a metric is a pure function of scores, decisions, labels and item weights; it never draws random numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeloop_foundation.registry import Registry

if TYPE_CHECKING:
    from edgeloop.evaluate.metrics.base import Metric

__all__ = ["BUILTIN", "EVALUATORS", "load_metric"]

BUILTIN = {
    name: f"edgeloop.evaluate.metrics.{name}:{cls}"
    for name, cls in (
        ("accuracy", "Accuracy"),
        ("top5", "Top5"),
        ("roc_auc", "RocAuc"),
        ("f1_macro", "F1Macro"),
        ("mean_absolute_error", "MeanAbsoluteError"),
        ("rmse", "Rmse"),
        ("cosine", "Cosine"),
        ("recall_at_1", "RecallAt1"),
    )
}
EVALUATORS: Registry[Metric] = Registry("evaluators", BUILTIN)


def load_metric(name: str) -> type[Metric]:
    """Return a registered metric, or a user's own for ``module:function`` or ``path.py:function``.

    Raises:
        NotFoundError: no such metric, module or function.
    """
    if ":" not in name:
        return EVALUATORS.load(name)
    from edgeloop.evaluate.custom_metric import custom_metric
    from edgeloop.evaluate.datasets.function import load_function

    return custom_metric(name, load_function(name))
