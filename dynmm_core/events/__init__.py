"""From bytes to columns: the interaction schema, decoding with dead letters, id hashes. Never imports torch or the engine."""
