"""The benchmark of temporal adaptation: streams with known drift, every model on each, and what the truth says of them."""
