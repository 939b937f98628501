"""The documentation site: its generated pages, the marks of its code blocks, and the worlds in which those are run."""
