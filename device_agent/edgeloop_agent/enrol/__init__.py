"""The device's part in enrolment: it makes its own key, asks for a certificate, and verifies what it is given.

Law: runs as ``python -I -m edgeloop_agent.enrol`` and ends; the daemon starts it by exec and never imports it.
cryptography is loaded here and nowhere else on the device. No private key leaves this room but into its file of
mode 0600.
"""
