"""``edgeloop deployment serve|serving|stop``: committed models answered over the Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeloop.interfaces.cli.session import Session, json_option, on_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeloop_protocol.types.serving import ServingStatus

    from edgeloop.orchestrate.serve import ServedDevice

__all__ = ["serve", "serving", "stop"]

_EXIT_GATE, _EXIT_DEVICE = 1, 3


@click.command()
@click.argument("name")
@on_option
@click.option("--grpc", "grpc_address", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT",
              help="gRPC listener; port 0 lets the device choose once.")  # fmt: skip
@click.option("--http", "http_address", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT",
              help="HTTP listener, with /metrics.")  # fmt: skip
@click.option("--queue", "queue_max", type=click.IntRange(1, 1024), default=32, show_default=True,
              help="Most requests that wait; a further one is refused at once.")  # fmt: skip
@click.option("--max-batch", "batch_max", type=click.IntRange(1, 256), default=8, show_default=True,
              help="Most rows that are run together; 1 turns batching off.")  # fmt: skip
@click.option("--max-batch-ms", type=click.FloatRange(0, 60_000), default=100.0, show_default=True,
              help="Larger batches than run in this time, measured at warm-up, are not formed.")  # fmt: skip
@click.option("--max-delay-ms", type=click.FloatRange(0, 60_000), default=0.0, show_default=True,
              help="Longest wait of a request for others to fill its batch.")  # fmt: skip
@click.option("--max-message-mb", type=click.IntRange(1, 1024), default=20, show_default=True,
              help="Largest message; a larger one is refused.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True,
              help="Threads of the runtime.")  # fmt: skip
@click.option("--drift", is_flag=True,
              help="Count inputs and outputs into bins of the golden pack; no value is kept.")  # fmt: skip
@click.option("--request-log", "request_log", default="", metavar="SIZE",
              help="Log requests on the device, for example 4MiB: times, queue, batch; never inputs.")  # fmt: skip
@click.option("--shadow", default="", metavar="NAME",
              help="Another deployment there that gets a copy of each request; counted, never returned.")  # fmt: skip
@click.option("--second", default="", metavar="NAME",
              help="Another deployment there that stays loaded and answers while --switch says so.")  # fmt: skip
@click.option("--switch", default="", metavar="RULE",
              help="temperature:HIGH:LOW, queue:HIGH:LOW or file:/PATH:HIGH:LOW.")  # fmt: skip
@click.option("--wait", "wait_s", type=click.FloatRange(0, 3600), default=60.0, show_default=True,
              help="Seconds to wait until it answers.")  # fmt: skip
@json_option
@click.pass_context
def serve(
    ctx: click.Context, /, name: str, on: tuple[str, ...], wait_s: float, as_json: bool, **words: Any
) -> None:
    """Serve deployment NAME on its devices, over gRPC and HTTP, now and after restarts of their agents.

    Beyond loopback a device has to be enrolled, and callers show a certificate of its fleet. The process lives with
    its agent: one that an edgeloop verb starts for itself (local) ends with the verb.
    """
    from edgeloop_protocol.types.serving import ServingSpec

    from edgeloop.app import App
    from edgeloop.interfaces.options import parse_bytes
    from edgeloop.orchestrate.serve import serve as begin

    session: Session = ctx.obj
    spec = ServingSpec(
        name=name,
        grpc_address=words["grpc_address"],
        http_address=words["http_address"],
        queue_max=words["queue_max"],
        batch_max=words["batch_max"],
        batch_s_max=words["max_batch_ms"] * 1e-3,
        delay_s_max=words["max_delay_ms"] * 1e-3,
        message_bytes_max=words["max_message_mb"] << 20,
        threads=words["threads"],
        drift=words["drift"],
        shadow=words["shadow"],
        second=words["second"],
        switch=words["switch"],
        request_log_bytes=int(parse_bytes(words["request_log"])) if words["request_log"] else 0,
    )
    with App.open(session.directory()) as app:
        _show(ctx, _run(begin(app, spec, session.devices(on), wait_s=wait_s)), as_json)


@click.command()
@on_option
@json_option
@click.pass_context
def serving(ctx: click.Context, on: tuple[str, ...], as_json: bool) -> None:
    """Show what each device serves, where, and which version answers."""
    from edgeloop.app import App
    from edgeloop.orchestrate.serve import served

    session: Session = ctx.obj
    with App.open(session.directory()) as app:
        _show(ctx, _run(served(app, session.devices(on))), as_json)


@click.command()
@click.argument("name")
@on_option
@json_option
@click.pass_context
def stop(ctx: click.Context, name: str, on: tuple[str, ...], as_json: bool) -> None:
    """Serve NAME no more; requests under way are answered first. The deployment stays installed."""
    from edgeloop.app import App
    from edgeloop.orchestrate.serve import stop_serving

    session: Session = ctx.obj
    with App.open(session.directory()) as app:
        _show(ctx, _run(stop_serving(app, name, session.devices(on))), as_json)


def _run(work: Any) -> Any:
    import asyncio

    return asyncio.run(work)


def _show(ctx: click.Context, done: Sequence[ServedDevice], as_json: bool) -> None:
    from edgeloop.interfaces import present

    if as_json:
        present.print_json(
            {
                "devices": [
                    {"device": one.device.name, "serving": one.statuses, "error": one.error} for one in done
                ]
            }
        )
    else:
        present.print_table(
            (
                "device",
                "model",
                "state",
                "answers",
                "gRPC",
                "HTTP",
                "batch",
                "isolation",
                "restarts",
                "remark",
            ),
            [row for one in done for row in _rows(one)],
        )
    if any(not one.reached for one in done):
        ctx.exit(_EXIT_DEVICE)
    if any(one.error for one in done):
        ctx.exit(_EXIT_GATE)


def _rows(one: ServedDevice) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            one.device.name,
            status.spec.name,
            status.state.value,
            f"{_form(status)}{status.counter} ({status.digest[:12]})" if status.digest else "-",
            status.spec.grpc_address,
            status.spec.http_address,
            str(status.batch_limit or "-"),
            "-" if status.isolation is None else status.isolation.tier,
            str(status.restarts),
            status.reason,
        )
        for status in one.statuses
    ]
    if (one.error and not any(one.error == row[-1] for row in rows)) or not rows:
        rows.append((one.device.name, *["-"] * 8, one.error or "serves nothing"))
    return rows


def _form(status: ServingStatus) -> str:
    """Return whose version answers, where it is not the one that was asked for."""
    return f"{status.form} " if status.form not in ("", status.spec.name) else ""
