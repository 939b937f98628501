"""Records on their way out.

Law: floor 2. Imports the domain, the protocol and the foundation; writes what a record holds and decides nothing.
"""
