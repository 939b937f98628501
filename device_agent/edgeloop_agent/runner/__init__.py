"""The runner: one short-lived process that loads one model and answers commands about it.

Law: the only room of the agent that imports NumPy and a runtime; started by exec (``python -I -m
edgeloop_agent.runner``), never imported by the daemon. It trusts neither the model nor the golden pack:
limits are in force before either is opened, and whatever happens in here is a recorded outcome there. It
writes nothing but its scratch directory.
"""
