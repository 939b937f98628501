"""Artifacts by digest, and run records appended for ever.

Law: floor 2. Imports the domain, the protocol and the foundation; files are reached through the foundation's
file system port, tables through SQLAlchemy. Runs and decisions are appended, never updated or deleted; an
artifact is stored whole or not at all; nothing here decides anything.
"""
