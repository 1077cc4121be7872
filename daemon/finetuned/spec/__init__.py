"""A Core ML file, as values.  Pure: bytes in, bytes out."""
