"""Kafka behind the dataflows: clients, topics, sources, sinks, and how slides lie on the wire."""
