"""One technique a file; each states what it needs and what it promises, and is checked for both.

Law: a pass reads one ONNX file (and, where it trains, the trainable form beside it) and writes another, and touches
nothing else. The public ``run`` of the base
class holds it to its word; what a pass cannot do well on a model it refuses with the reason.
"""

from __future__ import annotations

from typing import Any

from edgeloop_foundation.registry import Registry

from edgeloop.compress.passes.base import Condition, Pass, PassContext, PassResult
from edgeloop.domain.recipe import PassSpec

__all__ = ["BUILTIN", "REGISTRY", "Condition", "Pass", "PassContext", "PassResult", "make_pass"]

BUILTIN = {
    "code_tables": "edgeloop.compress.passes.code_tables:CodeTables",
    "convert_fp16": "edgeloop.compress.passes.convert_fp16:ConvertFp16",
    "distill": "edgeloop.compress.passes.distill:Distill",
    "drop_features": "edgeloop.compress.passes.drop_features:DropFeatures",
    "drop_identities": "edgeloop.compress.passes.drop_identities:DropIdentities",
    "export_module": "edgeloop.compress.passes.export_module:ExportModule",
    "finetune": "edgeloop.compress.passes.finetune:Finetune",
    "fold_batch_norm": "edgeloop.compress.passes.fold_batch_norm:FoldBatchNorm",
    "int4_at_rest": "edgeloop.compress.passes.int4_at_rest:Int4AtRest",
    "limit_depth": "edgeloop.compress.passes.limit_depth:LimitDepth",
    "narrow_table": "edgeloop.compress.passes.narrow_table:NarrowTable",
    "optimize_graph": "edgeloop.compress.passes.optimize_graph:OptimizeGraph",
    "pack_nibbles": "edgeloop.compress.passes.pack_nibbles:PackNibbles",
    "prune_channels": "edgeloop.compress.passes.prune_channels:PruneChannels",
    "prune_forest": "edgeloop.compress.passes.prune_forest:PruneForest",
    "prune_weights": "edgeloop.compress.passes.prune_weights:PruneWeights",
    "quantize_aware": "edgeloop.compress.passes.quantize_aware:QuantizeAware",
    "quantize_dynamic": "edgeloop.compress.passes.quantize_dynamic:QuantizeDynamic",
    "quantize_int4": "edgeloop.compress.passes.quantize_int4:QuantizeInt4",
    "quantize_mixed": "edgeloop.compress.passes.quantize_mixed:QuantizeMixed",
    "quantize_nncf": "edgeloop.compress.passes.quantize_nncf:QuantizeNncf",
    "quantize_static": "edgeloop.compress.passes.quantize_static:QuantizeStatic",
    "reduce_neighbours": "edgeloop.compress.passes.reduce_neighbours:ReduceNeighbours",
}
"""Drivers by name."""

REGISTRY: Registry[Pass[Any]] = Registry("passes", BUILTIN)
"""Every known pass."""


def make_pass(spec: PassSpec) -> Pass[Any]:
    """Return the configured pass.

    Raises:
        NotFoundError: no pass of that name.
        InvalidInputError: a setting is unknown, of the wrong type or out of range.
    """
    driver = REGISTRY.load(spec.name)
    return driver(driver.parse_settings(dict(spec.settings)))
