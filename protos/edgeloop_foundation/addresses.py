"""What an address says about who can reach it."""

from __future__ import annotations

__all__ = ["is_loopback"]


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host: ``localhost``, or an address that loops back."""
    import ipaddress  # 0.3 MB that an agent on a Unix socket does without

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
