"""Artifacts in other formats: one converter a file, each with the runtime that verifies what it made.

Law: takes a file and gives a file; never judges quality, never talks to a device, imports no other capability. A
converter that is not installed says what to install.
"""

from __future__ import annotations

from edgeloop_foundation.registry import Registry

from edgeloop.convert.base import Converter

__all__ = ["BUILTIN", "CONVERTERS"]

BUILTIN = {"tflite": "edgeloop.convert.tflite:TfLite"}
"""Name of the format to the driver that writes it."""

CONVERTERS: Registry[Converter] = Registry("converters", BUILTIN)
"""Every converter that this controller knows, plug-ins included."""
