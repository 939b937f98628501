"""One Parquet file with a typed column each; who wrote it and from what stands in its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import edgeloop
from edgeloop.observe.exporters.base import Export, FileExporter

__all__ = ["ParquetExporter"]


class ParquetExporter(FileExporter):
    """Writes one Parquet file."""

    name: ClassVar[str] = "parquet"
    suffix: ClassVar[str] = ".parquet"

    def _write(self, export: Export, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"text": pa.string(), "real": pa.float64(), "integer": pa.int64(), "flag": pa.bool_()}
        schema = pa.schema(
            [pa.field(column.name, kinds[column.kind]) for column in export.columns],
            metadata={"edgeloop_version": edgeloop.__version__, "edgeloop_experiment": export.experiment_id},
        )
        values = list(zip(*export.rows, strict=True)) or [()] * len(export.columns)
        arrays = [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)]
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path)
