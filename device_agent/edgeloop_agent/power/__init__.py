"""Power and energy of the board over time: samplers, spans, their summary, and a watch over the sensors themselves.

Law: standard library only. A sample keeps the time of its sensor. Energy that cannot be trusted is absent with the
reason; nothing here ever makes up a figure.
"""

from __future__ import annotations

__all__: list[str] = []
