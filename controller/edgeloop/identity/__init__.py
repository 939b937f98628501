"""The fleet's private authority: it signs certificates, keeps the trust list, and gives out join tokens.

Law: floor 2. Imports the domain, the protocol and the foundation; cryptography is loaded inside the functions that
sign. Talks to no device but through a callable that it is given, or through the listener of a join token. The
authority's key stays in one directory of mode 0700; nothing here reads a device's private key.
"""
