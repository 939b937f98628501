"""Records in and out: ``export`` and ``import``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from edgeloop_foundation.errors import InvalidInputError

from edgeloop.interfaces.cli.session import Session, json_option

__all__ = ["export", "import_rows"]


@click.command()
@click.argument("experiment", default="latest")
@click.option(
    "--format",
    "format_name",
    required=True,
    metavar="FORMAT",
    help="parquet, csv, mlflow, or an installed exporter.",
)
@click.option("--to", default="", metavar="PATH|URI", help="File, or MLflow directory or tracking URI.")
@click.option("--samples", is_flag=True, help="One row per raw sample instead of one per run.")
@json_option
@click.pass_context
def export(
    ctx: click.Context, experiment: str, format_name: str, to: str, samples: bool, as_json: bool
) -> None:
    """Write every run of EXPERIMENT ("latest" or the beginning of its id), failed ones included.

    Units stand in the columns' names; source, basis and series in every row; an absent figure is empty and its reason
    stands beside it.
    """
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        done = verbs.export(experiment, format_name, to, samples=samples)
    if as_json:
        present.print_json({"exported": done})
    else:
        present.print_text(f"{done.place}: {done.row_count} rows of experiment {done.experiment_id}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", required=True, metavar="NAME", help="Name of the experiment it becomes.")
@click.option("--licence", default="", help="Licence of the figures, kept with every row.")
@click.option("--url", default="", help="Where they were published, kept with every row.")
@click.option(
    "--column", "columns", multiple=True, metavar="NAME=HEADING", help="Heading of a column here; repeatable."
)
@json_option
@click.pass_context
def import_rows(
    ctx: click.Context,
    file: Path,
    name: str,
    licence: str,
    url: str,
    columns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Append the published figures of FILE, a CSV table, as third-party runs.

    Columns: board and model; runtime, precision, threads, input, source; p50_ms, p90_ms, p95_ms, p99_ms, energy_j. Such
    rows are third-party for ever: they satisfy no gate and are no reference of any gain.
    """
    from edgeloop.interfaces import present

    session: Session = ctx.obj
    with session.verbs() as verbs:
        result = verbs.import_published(file, name, licence=licence, url=url, columns=dict(_mapping(columns)))
    count = sum(len(device.runs) for device in result.devices)
    if as_json:
        present.print_json(result)
    else:
        present.print_text(
            f"{name}: {count} third-party rows on {len(result.devices)} devices; they satisfy no gate"
        )


def _mapping(words: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [word.partition("=") for word in words]
    for (name, equal, heading), word in zip(pairs, words, strict=True):
        if not (name and equal and heading):
            raise InvalidInputError(f"a column is written NAME=HEADING, found {word!r}.")
    return [(name.strip(), heading) for name, _, heading in pairs]
