"""Integer arithmetic of another processor: what ONNX Runtime would compute there, worked out here.

Law: only nodes whose result depends on the instruction set are replaced, by exact integer arithmetic; all others run
on the real engine of this machine. What is replaced, and what cannot be, is said in words. For parity, never timed.
"""
