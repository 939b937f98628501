"""``edgeloop-agent serve``: starts the agent, prints ``ready ADDRESS``, stops on SIGTERM.

``edgeloop-agent host`` does the same for many simulated boards and prints ``ready COUNT boards``.
``edgeloop-agent enrol`` becomes the program of that name, see ``edgeloop_agent.enrol``.

Exit status: 0 stopped as asked, 1 the agent failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError, UnsupportedError
from edgeloop_protocol.types.isolation_tier import DEFAULT, TIERS

from edgeloop_agent import __version__
from edgeloop_agent.memory import leave_out_ssl, limit_heap

__all__ = ["main"]

_EXIT_FAILED = 1
_EXIT_USAGE = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgeloop-agent", description="The on-device part of edgeloop.")
    parser.add_argument("--version", action="version", version=f"edgeloop-agent {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("enrol", add_help=False, help="enrol this device in a fleet")
    serve = commands.add_parser("serve", help="serve this board, or a simulated one, until SIGTERM")
    add = serve.add_argument
    add("--state", type=Path, required=True, help="directory for blobs, results, leases and jobs")
    add("--socket", type=Path, help="listen on this Unix socket, open to this user only")
    add("--listen", default="", metavar="HOST:PORT", help="listen on TCP; port 0 lets the system choose")
    add("--tls-certificate", type=Path, help="the agent's certificate chain, PEM")
    add("--tls-key", type=Path, help="its private key, PEM")
    add("--tls-client-ca", type=Path, help="authority of the clients' certificates, PEM")
    add("--insecure-loopback", action="store_true", help="TCP without TLS, on loopback only")
    add("--name", default="", help="name for people; the host's name, or the profile's")
    add("--simulate", default="", metavar="PROFILE", help="stand on a simulated board instead of this one")
    add("--seed", type=int, default=0, help="seed of the simulated board's noise and faults")
    add("--pace", type=float, default=0.0, help="simulated seconds in one of the wall clock; 0: at once")
    add("--link-mbit", type=float, default=0.0, help="Mbit/s that reach the simulated board; 0: no limit")
    add("--faults", type=Path, metavar="FILE.toml", help="what goes wrong on the simulated board, and when")
    add(
        "--numerics",
        choices=("isa", "host"),
        default="isa",
        help="whose 8-bit arithmetic a simulated board checks parity with: its own, or this machine's",
    )
    add(
        "--meter",
        action="append",
        default=[],
        metavar="KIND=ADDRESS",
        help="an external meter of this board: shelly=http://HOST, tasmota=http://HOST, serial=DEVICE; repeatable",
    )
    limited = "runners only, by a control group; records say 'emulated'"
    add("--emulate-memory", default="", metavar="SIZE", help=f"memory budget, for example 512MiB: {limited}")
    add("--emulate-cpus", default="", metavar="COUNT", help=f"processors, for example 1: {limited}")
    add(
        "--emulate-compute",
        default="",
        metavar="SHARE",
        help="share of processor time per thread, 0.05 to 1, by a scheduler quota of 4 ms periods: the mean latency is "
        "that of a slower processor, single latencies below some periods are bimodal and their percentiles not to be "
        "trusted; caches and memory stay as fast as ever",
    )
    add(
        "--advertise",
        action="store_true",
        help="tell the local network that an agent is here (DNS-SD); a hint only",
    )
    period = "time between two samples of how the device is; 0 keeps none"
    add("--telemetry-period", type=float, default=10.0, metavar="SECONDS", help=period)
    add("--telemetry-bytes", type=int, default=4 << 20, help="most that those samples take")
    tier = (
        "strongest tier that runners and serving processes are confined to; bubblewrap needs the program bwrap, "
        "systemd the units of edgeloop device add --isolation systemd"
    )
    add("--isolation", choices=TIERS, default=DEFAULT, help=f"{tier} (default: %(default)s)")
    add(
        "--require-isolation",
        choices=TIERS,
        default=TIERS[0],
        help="weakest tier that a model is opened in; where the board gives less, its jobs are refused",
    )
    add("--reserve-bytes", type=int, default=128 << 20, help="space kept free for results")
    add("--store-bytes", type=int, default=8 << 30, help="most that blobs may take")
    host = commands.add_parser("host", help="serve part of a fleet of simulated boards until SIGTERM")
    host.add_argument("--fleet", type=Path, required=True, metavar="FILE.json", help="the plan of the fleet")
    host.add_argument("--part", type=int, default=0, help="which part of its processes this one is, from 0")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["enrol"]:
        os.execv(  # noqa: S606 - no shell is wanted
            sys.executable, [sys.executable, "-I", "-m", "edgeloop_agent.enrol", *words[1:]]
        )
    options = _parser().parse_args(words)
    leave_out_ssl()
    limit_heap()
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # Imported after the memory settings, which must come first to have an effect.
    import asyncio

    if options.command == "host":
        from edgeloop_agent.simulate.host import serve
    else:
        from edgeloop_agent.daemon import serve

    try:
        asyncio.run(serve(options))
    except (InvalidInputError, NotFoundError, UnsupportedError) as error:
        sys.stderr.write(f"edgeloop-agent: {error}\n")
        return _EXIT_USAGE
    except (EdgeloopError, OSError) as error:
        sys.stderr.write(f"edgeloop-agent: {error}\n")
        return _EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
