"""Ground floor: statistics, ports, registry and errors on the standard library alone.

Law: imports nothing but the standard library and knows nothing of models, devices or the wire.
"""
