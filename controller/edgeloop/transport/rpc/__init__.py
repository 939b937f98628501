"""The mechanics under ``AgentClient``: channel options, deadlines, retries, uploads, leases, TLS pre-flight.

Law: nothing outside ``transport`` imports this; only here are gRPC statuses looked at.
"""
