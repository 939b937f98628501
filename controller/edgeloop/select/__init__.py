"""From records to a decision per device: expressions, evidence, constraint verdicts, policies, strategy.

Law: floor 2, pure: no I/O, no clock, no randomness; the same records and wishes give the same strategy.
Imports the domain and floor 0, never another capability. Nothing is recommended that the figures do not
prove better; what is missing is said.
"""
