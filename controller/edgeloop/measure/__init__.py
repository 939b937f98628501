"""Statistics of latency on the controller: steady state, intervals over processes, modes, comparison.

Law: floor 2, pure: records and raw samples go in, values of the domain come out; no I/O, no clock, and
randomness only from a fixed seed, so that the same record gives the same answer. NumPy and floor 0, never
another capability. Samples are classified, never dropped; where the figures carry no answer the answer says so.
Every threshold here names the simulation or the source it rests on.
"""
