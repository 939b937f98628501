"""Declared classes of device and the one model that predicts latency, memory, heat and power from them.

Law: imports the standard library, the foundation and ``edgeloop_protocol.types``; measures nothing, starts
nothing and writes nothing. Every figure of a board carries its provenance. A prediction always comes with its
interval and basis.

Decisions:

- A rate is that of one board *and* one runtime: runtimes on one board differ by up to seven times. Boards
  without rates for a kernel refuse it instead of guessing.
- Rates are per clock cycle, so they are written once for an instruction set (``runtimes/*.toml``) and taken over by
  its boards, which state what they change and why. A profile once read is whole: nothing else knows of it.
- Boards are TOML, read by ``tomllib``, which Python has from 3.11 on. An agent on Python 3.10 serves a real
  board as before; only simulating needs 3.11. The alternative, a TOML parser shipped to every board, lost.
"""

from edgeloop_profiles.profile import Profile
from edgeloop_profiles.reading import check_profile, list_profiles, load_profile

__all__ = ["Profile", "check_profile", "list_profiles", "load_profile"]
