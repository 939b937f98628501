"""What people and programs touch: command line, configuration file, Python API.

Law: floor 4. Parse, call one orchestrate function, present. No decisions, and nothing imports this room.
Whatever weighs (pydantic, rich, the rooms below) is imported inside the function that uses it.
"""
