"""What was seen of a device from outside: traces of meters, laid beside the runs that they watched.

Law: capability of floor 2. Reads files that people bring and values of the protocol; knows no device, no store and no
other capability. A figure from outside carries the name of its source and never enters a device's own record.
"""

from __future__ import annotations

__all__: list[str] = []
