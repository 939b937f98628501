"""Pure values and rules: model, recipe, candidate, quality, constraint, evidence, strategy, Pareto front.

Law: floor 1. Imports the protocol's values and the foundation; no I/O, no ML library at import time.
"""
