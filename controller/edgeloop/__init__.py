"""Finds, proves and ships the best compressed form of a model for each device, by measuring on that device.

``edgeloop.interfaces.api`` has the typed Python interface; the command line is a thin layer over it.
"""

__version__ = "0.1.0"
