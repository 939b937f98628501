"""Rows of a CSV or Parquet file."""

from __future__ import annotations

import csv
from math import prod
from typing import ClassVar

import numpy as np
from edgeloop_foundation.errors import InvalidInputError, MissingDependencyError, NotFoundError
from edgeloop_protocol.types.artifact import TensorSpec
from numpy.typing import NDArray

from edgeloop.domain.dataset import Dataset
from edgeloop.evaluate.datasets.base import DataSource, ReadRequest, data_inputs

__all__ = ["TableReader"]

Column = NDArray[np.generic]


class TableReader:
    """Feature columns and a label column; one row is one item.

    A model with one input of shape [batch, features] takes the feature columns in file order; a model with
    several inputs takes the column of each input's name.
    """

    name: ClassVar[str] = "table"

    def accepts(self, source: DataSource) -> bool:
        """Return whether the name ends in .csv or .parquet."""
        return source.path.suffix.lower() in (".csv", ".parquet")

    def read(self, request: ReadRequest) -> Dataset:
        """Return the rows.

        Raises:
            InvalidInputError: not a table, a wrong number of columns, or a cell that is not a number.
            NotFoundError: no such file.
            MissingDependencyError: Parquet without pyarrow.
        """
        source = request.source
        source.require_known("label", "group", "drop")
        columns = _columns(source)
        for name in filter(None, source.options.get("drop", "").split(",")):
            _take(source, columns, name)
        labels = _role(source, columns, "label")
        groups = _role(source, columns, "group")
        inputs = {s.name: _input(source, columns, s, request) for s in data_inputs(request.description)}
        return Dataset(
            name=source.path.name,
            inputs=inputs,
            labels=None if labels is None else _numbers(labels),
            groups=groups,
            state=request.description.state,
        )


def _columns(source: DataSource) -> dict[str, Column]:
    if not source.path.is_file():
        raise NotFoundError(f"data {source.location!r} does not exist.")
    return _parquet(source) if source.path.suffix.lower() == ".parquet" else _csv(source)


def _csv(source: DataSource) -> dict[str, Column]:
    try:
        with source.path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"data {source.location!r} is not a CSV file: {error}.") from error
    if len(rows) < 2:
        raise InvalidInputError(f"data {source.location!r} holds no rows below its header.")
    header, body = rows[0], [row for row in rows[1:] if row]
    if len(set(header)) != len(header):
        raise InvalidInputError(f"data {source.location!r} has two columns of one name.")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise InvalidInputError(
                f"data {source.location!r}: row {number} has {len(row)} cells, the header {len(header)}."
            )
    return {name.strip(): np.asarray([row[i].strip() for row in body]) for i, name in enumerate(header)}


def _parquet(source: DataSource) -> dict[str, Column]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "a Parquet file needs the package 'pyarrow', which is not installed.",
            next_step="Install it: pip install 'edgeloop[parquet]'",
        ) from error
    try:
        table = pyarrow.parquet.read_table(source.path)
    except pyarrow.ArrowException as error:
        raise InvalidInputError(f"data {source.location!r} is not a Parquet file: {error}.") from error
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _take(source: DataSource, columns: dict[str, Column], name: str) -> Column:
    if name not in columns:
        raise InvalidInputError(
            f"data {source.location!r} has no column {name!r}; it has {', '.join(columns)}."
        )
    return columns.pop(name)


def _role(source: DataSource, columns: dict[str, Column], role: str) -> Column | None:
    if role in source.options:
        return _take(source, columns, source.options[role])
    return columns.pop(role, None)


def _numbers(column: Column) -> Column:
    """Return numbers where every cell is one (integers where all are whole), else the text."""
    if column.dtype.kind not in "OUS":
        return column
    try:
        return column.astype(np.int64)
    except (ValueError, TypeError):
        pass
    try:
        values = np.where(column.astype(np.str_) == "", "nan", column.astype(np.str_)).astype(np.float64)
    except (ValueError, TypeError):
        return column.astype(np.str_)
    return values


def _input(source: DataSource, columns: dict[str, Column], spec: TensorSpec, request: ReadRequest) -> Column:
    chosen = list(columns) if len(data_inputs(request.description)) == 1 else [spec.name]
    item = tuple(axis for axis in spec.shape[1:])
    if -1 not in item and prod(item) != len(chosen):
        raise InvalidInputError(
            f"data {source.location!r} has {len(chosen)} feature columns for the input {spec.name!r}, "
            f"which takes {prod(item)}.",
            next_step="Name the label column with ?label=NAME, leave others out with &drop=A,B.",
        )
    if any(name not in columns for name in chosen):
        raise InvalidInputError(
            f"data {source.location!r} has no column for the input {spec.name!r}; it has "
            f"{', '.join(columns)}."
        )
    stacked = np.stack([_cells(source, name, columns[name], spec) for name in chosen], axis=1)
    return stacked if -1 in item else stacked.reshape(len(stacked), *item)


def _cells(source: DataSource, name: str, column: Column, spec: TensorSpec) -> Column:
    if spec.dtype in ("object", "str", "string"):
        return column.astype(np.str_)
    values = _numbers(column)
    if values.dtype.kind not in "iufb":
        wrong = next((str(cell) for cell in values.tolist() if not _is_number(cell)), "")
        raise InvalidInputError(
            f"data {source.location!r}: column {name!r} holds {wrong!r}, which is no number.",
            next_step="Encode it as a number, leave it out with ?drop=, or name it as the label with "
            "?label=.",
        )
    # Tables have one kind of number; a column of whole numbers is still a feature of a float model.
    return values.astype(spec.dtype) if spec.dtype.startswith("float") else values


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True
