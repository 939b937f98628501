"""Exporters, one file each: records into a format of others.

Law: an exporter writes every row it is given, whole or not at all, and never loses what kind of figure one is:
source, basis and series stand in every row, and an absent figure stays absent beside its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeloop_foundation.registry import Registry

if TYPE_CHECKING:
    from edgeloop.observe.exporters.base import Exporter

__all__ = ["BUILTIN", "EXPORTERS"]

BUILTIN = {
    "csv": "edgeloop.observe.exporters.csv:CsvExporter",
    "mlflow": "edgeloop.observe.exporters.mlflow:MlflowExporter",
    "parquet": "edgeloop.observe.exporters.parquet:ParquetExporter",
}
EXPORTERS: Registry[Exporter] = Registry("exporters", BUILTIN)
