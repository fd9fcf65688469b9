"""A bench of instruments: a source-measure unit on a switch matrix, driven over VISA."""
