"""Frozen values that both sides speak, one file a subject.

Law: standard library only; a value cannot be built wrong.
"""
