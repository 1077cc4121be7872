"""Core ML layers to primitives, by family: a function for each type; `lower` holds the table of them all."""
