"""``edgeloop predict``."""

from __future__ import annotations

import click
from edgeloop_foundation.errors import InvalidInputError

from edgeloop.interfaces.cli.session import Session, json_option, on_option, state_option

__all__ = ["predict"]


@click.command()
@click.argument("model")
@on_option
@click.option(
    "--threads",
    "thread_words",
    default="1",
    metavar="N[,N...]",
    help="Threads within one operator, a row each.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=1, help="Items per inference.")
@click.option("--runtime", default="onnxruntime", help="Runtime that is to run it.")
@click.option(
    "--runtime-version", default="", help="Version that will run; the profile's own when it is not given."
)
@click.option(
    "--data", default="", help="Data that golden inputs are taken from; predictions do not depend on it."
)
@state_option
@json_option
@click.pass_context
def predict(
    ctx: click.Context,
    model: str,
    on: tuple[str, ...],
    thread_words: str,
    batch_size: int,
    runtime: str,
    runtime_version: str,
    data: str,
    state: tuple[str, ...],
    as_json: bool,
) -> None:
    """Predict MODEL, a file or the digest of a kept artifact, on sim:PROFILE, sim:PROFILE@MODE or sim:FILE.toml.

    Each row says what it rests on and its 90 % interval. Exit 3 when a board could not run the model.
    """
    from edgeloop.interfaces.options import parse_state
    from edgeloop.interfaces.present_prediction import print_predictions

    session: Session = ctx.obj
    devices, bindings, threads = session.devices(on), parse_state(state), _threads(thread_words)
    with session.verbs() as verbs:
        rows = verbs.predict(
            model,
            devices,
            threads=threads,
            batch_size=batch_size,
            runtime=runtime,
            runtime_version=runtime_version,
            data=data,
            state=bindings,
        )
    print_predictions(rows, as_json)
    if any(row.reason for row in rows):
        ctx.exit(3)


def _threads(words: str) -> tuple[int, ...]:
    try:
        found = tuple(int(word) for word in words.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise InvalidInputError(
            f"--threads: found {words!r}, allowed are whole numbers from 1, with commas between them.",
            next_step="Write, for example, --threads 1,4.",
        )
    return tuple(dict.fromkeys(found))
