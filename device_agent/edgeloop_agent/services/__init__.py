"""The wire's services, one file each.

Law: decode, call, encode; no decisions. Errors are raised as they are; the gate turns them into status codes.
"""
