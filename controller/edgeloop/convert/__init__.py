"""Turns an artifact into another format, one driver a format, each with the runtime that verifies it.

Law: floor 2. Imports the domain, the protocol's values and the foundation. A converter that cannot verify
what it
wrote on this machine says so; it never offers an unverified file as a candidate. ONNX is the one format
so far.
"""
