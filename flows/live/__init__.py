"""The dataflows on Kafka: what they are told, where they go on, and the commands that run them."""
