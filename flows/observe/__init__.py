"""What a running flow shows outside: metrics, health and logs. Nothing here decides what the flow does."""
