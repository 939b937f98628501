"""What a person, a pull request or a build server reads of an experiment: HTML, Markdown, JSON, CSV, JUnit.

Law: floor 2. Imports the domain and the protocol; presents what a result holds and computes nothing that
could change a verdict. Predicted figures carry their basis in every row and chart title. Whatever a device or
a user named is escaped.
"""

from edgeloop.report.write import FORMATS, render, write_report

__all__ = ["FORMATS", "render", "write_report"]
