"""Generated stubs of the wire, committed; regenerate with scripts/generate_protos."""
