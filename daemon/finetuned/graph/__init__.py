"""Values in, ONNX out: the compiler.  Pure."""
