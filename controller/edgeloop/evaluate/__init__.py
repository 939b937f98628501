"""Data, inference on the host, metrics and paired quality statistics.

Law: floor 2. Reads data into a Dataset that fits the model or says in one sentence why it does not; runs
model files over it; compares candidate and original on the same items with an interval. Imports the domain
and floor 0, never another capability. Same data, seed and model file give the same figures; a figure
without labels does not exist.
"""
