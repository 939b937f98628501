"""Verifies releases in a process of its own, with python-tuf.

Law: started by exec, never imported by the daemon; the only room of the agent that imports tuf. Reads and writes the
trust state, and nothing else on the device.
"""
