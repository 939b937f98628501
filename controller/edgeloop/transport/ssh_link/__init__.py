"""An authenticated SSH connection to a board: whom to reach, whom to trust, what to do there.

Law: paramiko and Fabric are imported only when a connection is made. Nothing here knows about agents or bundles, no
unknown or changed host key is ever accepted, and no setting of the user's SSH configuration is dropped in silence.
"""
