"""Holds runners in less than the machine has, so that the real runtime is measured under emulated resources.

Law: standard library and floor 0 only; files are read and written below an injected root. Groups are made beside or
below existing ones and removed again; no existing group is changed. What cannot be limited is refused at the start,
never left out. What the limits mean, and when a compute scale is not to be trusted, is said in
``edgeloop_protocol.types.emulation``.
"""
