"""The command line: one file per verb or small family.

Law: each command reads its words, calls one method of the Python API and prints. ``main`` alone is imported
for ``--help``; a verb's file is imported when that verb is used.
"""
