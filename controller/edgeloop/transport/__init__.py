"""Reaching an agent: one file a way of reaching it, one typed client above them all.

Law: floor 2. Imports the protocol, the foundation and ``domain``; never another capability and never the
agent's package, which it starts as a program. No pb2 message leaves this room, every call has a deadline, and
every failure is one of our errors that names the device.
"""
