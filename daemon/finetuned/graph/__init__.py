"""Values in, ONNX out: the compiler from a Core ML network to the graphs that train and run it.  Pure."""
