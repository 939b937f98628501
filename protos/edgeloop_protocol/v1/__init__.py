"""Generated stubs of the wire, committed.

Law: nothing here is written by hand; scripts/generate_protos makes it and scripts/check holds it against the protos.
"""
