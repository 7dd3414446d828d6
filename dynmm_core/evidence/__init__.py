"""Evidence about items, users and pairs of items, counted from the stream: what models are fed with. NumPy alone."""
