"""The models that learn with all their weights: what adaptation has to keep up with, at a fraction of their cost."""
