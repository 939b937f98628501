"""Who may call what: a table of methods, the caller of a call, and the admission of one to the other.

Law: part of the daemon; stdlib and grpcio. Denies what no rule allows. Certificates are read here, never judged:
whoever got through the handshake was verified by grpcio against the authorities of the trust list.
"""
