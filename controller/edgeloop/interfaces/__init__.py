"""What people and programs touch: command line and Python API.

Law: floor 4. Parses, calls one ``orchestrate`` function, presents; no logic of its own.
"""
