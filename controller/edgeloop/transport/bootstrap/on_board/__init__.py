"""Scripts that run on a board, with what a bare system has: sh, and the standard library of its Python.

Law: nothing here is imported by the controller, and nothing here imports more than the standard library.
"""
