"""Scripts that run on a board, with what a bare system has: sh, and the standard library of its Python."""
