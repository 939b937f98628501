"""Setting the agent up on a bare board: what is there, what it needs, the steps, and the scripts that run there.

Law: facts (a script and a pure parser) stand apart from operations (facts in, steps out); nothing here opens a
connection. What runs on the board is in ``on_board`` and is read as text, never imported by the controller.
"""
