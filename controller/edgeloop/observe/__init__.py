"""Records on their way out, what was seen of a device from outside, and what telemetry means: windows, rules, alerts.

Law: capability of floor 2. Imports the domain, the protocol and the foundation; writes what a record holds, reads
files that people bring, and decides nothing. A figure from outside carries the name of its source and never enters a
device's own record.
"""
