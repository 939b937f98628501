"""Signs releases: keys, roles and the bundle that devices verify.

Law: imports the domain and floor 0; the only room of the controller that imports tuf. The keys of root and targets sign
what people decide, and may be kept elsewhere; those of snapshot and timestamp stay with the controller, and can bring
nothing new.
"""
