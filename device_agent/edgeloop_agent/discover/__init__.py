"""Tells the local network that an agent is here, by DNS-SD: a hint for people, never an identity.

Law: runs as ``python -I -m edgeloop_agent.discover`` and ends when its standard input does; the daemon starts it by
exec and never imports it. zeroconf is loaded here and nowhere else on the device.
"""
