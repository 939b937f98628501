"""Files of the system that both ways of confining a process leave within reach; patterns are below ``/dev``."""

__all__ = ["ACCELERATORS", "LOOKED_UP"]

LOOKED_UP = ("/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/gai.conf")
"""What a name is looked up in, when a listener's address is one."""

ACCELERATORS = ("nvidia*", "nvhost*", "nvmap", "dri", "accel", "hailo*", "apex_*")
"""Device files of graphics and neural processors."""
