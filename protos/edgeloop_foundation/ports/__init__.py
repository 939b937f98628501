"""Everything of the outside world that can fail: file system, clock, network, processes.

Law: store, spool, slots, jobs and leases reach the outside through these protocols alone, so that the same
code runs over the real thing and, seeded and replayable, over the simulated one.
"""
