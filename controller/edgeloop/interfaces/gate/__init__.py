"""What the pytest plugin shows to tests: the device, its results and their assertions, the summary.

Law: floor 4. Imported when the ``device`` fixture is first used, never at the start of pytest; asks
``orchestrate.gate`` to measure and ``select.gate`` to judge; a failed assertion is one readable paragraph, never a
trace of our own code.
"""
