"""Golden packs, tolerance policy, and the comparison of two sets of outputs on the host.

Law: floor 2. A tolerance is stated and argued before it is applied and travels with the artifact; a verdict
names what it rests on. Imports the domain and floor 0, never another capability; never changes a tolerance
to make a check pass.
"""
