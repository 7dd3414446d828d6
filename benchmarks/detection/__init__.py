"""How soon drift is suspected, and how often for nothing: alarms beside the truth of simulated streams."""
