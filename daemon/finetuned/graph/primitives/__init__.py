"""The primitives by family; `ops` holds the table of them all."""
