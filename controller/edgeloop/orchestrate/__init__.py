"""Joins the capabilities: experiment, single verbs, devices, validation.

Law: floor 3, the only room that imports several capabilities; decides order and concurrency, computes nothing itself.
"""
