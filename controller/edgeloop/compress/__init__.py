"""Turns a model into candidates: sources, passes, recipes, lowering to the kernel table, packaging and
analysis.

Law: floor 2. Imports the domain, the protocol's values and the foundation, and onnx and onnxruntime lazily.
It never imports another capability: evaluator, tolerances and golden packs arrive as ports or import paths.
It never writes to the user's files, never changes a model without checking what came out, and never names a
tensor, a file or a layout in a rule.
"""
