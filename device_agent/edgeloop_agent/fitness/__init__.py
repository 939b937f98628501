"""Whether the device is fit to measure, and what went on while it was measured.

Law: standard library and floor 0 only. Files are read below an injected root, judgements are pure functions of what was
read, and nothing on the device is ever changed from here: a check that fails says what a person may change.
What the device does not have, what it does not let us read and what it answers are three different things.
"""
