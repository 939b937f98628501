"""How the device has been: one look every few seconds, kept in a bounded ring until somebody reads it.

Law: daemon room, standard library alone beside our floor 0. Looks, never changes; disturbs no measurement: while a job
runs it takes what others have looked at. Samples may be lost, and then it says how many; results never pass here.
"""
