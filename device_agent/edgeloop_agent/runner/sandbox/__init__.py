"""What keeps a model in beyond resource limits: namespaces, Landlock and a filter of system calls, each probed.

Law: standard library only, through ctypes, before anything else is loaded; no part may assume that another one held.
The runner tries what is forbidden and reports what was refused: what the kernel promised is no evidence. A library
(libseccomp) would have to be installed on every board, so the filter is built here from a table of numbers.
"""
