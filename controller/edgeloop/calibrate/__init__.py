"""What a device can do, found from measurements: small models that each ask one question, and the fit of the answers.

Law: builds ONNX models and reads runs; never measures by itself, never talks to a device, imports no other
capability.
"""
