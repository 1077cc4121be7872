"""What should happen, decided from values.  Pure."""
