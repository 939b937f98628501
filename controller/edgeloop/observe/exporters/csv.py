"""CSV by RFC 4180 for any reader, and inert for spreadsheets.

- Separator ``,``, lines end in CR LF, text is always quoted, ``"`` inside is doubled; numbers, flags and absent values
  are not quoted. So an empty text is ``""`` and an absent value is nothing at all.
- A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return for a formula, also
  when it is quoted. Such a text is written with ``'`` before it, and so is one that begins with ``'``: taking one ``'``
  away from every text that begins with it gives back what was exported. ``read_csv`` does.
- Numbers have all their digits: reading gives back the same float.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.errors import InternalError, InvalidInputError

from edgeloop.observe.exporters.base import Export, FileExporter
from edgeloop.observe.exporters.rows import Column, Value

__all__ = ["CsvExporter", "read_csv"]

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


class CsvExporter(FileExporter):
    """Writes one CSV file."""

    name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"

    def _write(self, export: Export, path: Path) -> None:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(",".join(f'"{column.name}"' for column in export.columns) + "\r\n")
            for row in export.rows:
                file.write(",".join(map(_cell, row)) + "\r\n")


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        inert = f"'{value}" if value.startswith(_DANGEROUS) else value
        return '"' + inert.replace('"', '""') + '"'
    if isinstance(value, int | float):
        return repr(value)
    raise InternalError(f"a cell holds {type(value).__name__}, which is no value of a row.")


def read_csv(path: Path, columns: Sequence[Column]) -> tuple[tuple[Value, ...], ...]:
    """Return the rows of a file that ``CsvExporter`` wrote.

    Raises:
        InvalidInputError: it has other columns.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, quoting=csv.QUOTE_MINIMAL, strict=True)
        header = next(reader, [])
        if header != [column.name for column in columns]:
            raise InvalidInputError(f"{path.name} has other columns than an export of this version.")
        return tuple(_read_row(row, columns) for row in reader)


def _read_row(row: Iterable[str], columns: Sequence[Column]) -> tuple[Value, ...]:
    return tuple(_read(text, column.kind) for text, column in zip(row, columns, strict=True))


def _read(text: str, kind: str) -> Value:
    if kind == "text":
        return text[1:] if text.startswith("'") else text
    if text == "":
        return None
    if kind == "flag":
        return text == "true"
    return int(text) if kind == "integer" else float(text)
