"""How fast and how small the stream is: our engines and others' on the same events, each in a process of its own."""
