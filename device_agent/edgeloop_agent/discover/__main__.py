"""``python -I -m edgeloop_agent.discover``: advertises until its standard input says something or ends.

Writes ``on\\n`` when the network was told. Exit status: 0 stopped as asked, 1 the network refused, 2 wrong use.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import sys
from collections.abc import Sequence
from typing import Any

SERVICE_TYPE = "_edgeloop._tcp.local."
_LABEL_BYTES_MAX = 63


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgeloop_agent.discover")
    add = parser.add_argument
    add("--name", required=True, help="name for people")
    add("--id", required=True, help="the device's identifier")
    add("--port", type=int, required=True)
    add("--via", choices=("ssh", "tls"), required=True, help="how the agent is reached at this port")
    add("--version", required=True, help="the agent's version")
    add(
        "--address",
        default="",
        help="the one address to tell and to speak from; all of the machine when empty",
    )
    return parser


def _addresses(only: str) -> list[str]:
    if only:
        return [only]
    import ifaddr

    found = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


def _label(name: str, device_id: str) -> str:
    """Return the instance's name: unique by the identifier, without what could end a label."""
    plain = re.sub(r"[^\w -]", "-", name).strip() or "edgeloop"
    suffix = f" {device_id[:8]}"
    room = _LABEL_BYTES_MAX - len(suffix.encode())
    return plain.encode()[:room].decode("utf-8", "ignore") + suffix


def _advertise(options: argparse.Namespace, addresses: Sequence[str]) -> None:
    import zeroconf

    choice: Any = [options.address] if options.address else list(addresses)
    info = zeroconf.ServiceInfo(
        SERVICE_TYPE,
        f"{_label(options.name, options.id)}.{SERVICE_TYPE}",
        port=options.port,
        parsed_addresses=list(addresses),
        server=f"edgeloop-{options.id[:12]}.local.",
        properties={"v": "1", "via": options.via, "id": options.id, "agent": options.version},
    )
    with zeroconf.Zeroconf(interfaces=choice) as network:
        network.register_service(info, allow_name_change=True)
        sys.stdout.write("on\n")
        sys.stdout.flush()
        sys.stdin.buffer.read(1)
        network.unregister_service(info)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        addresses = _addresses(options.address)
        if not addresses:
            sys.stderr.write("this machine has no address to tell.\n")
            return 1
        _advertise(options, addresses)
    except ImportError as error:
        sys.stderr.write(f"advertising needs the package zeroconf ({error}).\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"the network refused the advert: {error}.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
