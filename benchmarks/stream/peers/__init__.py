"""Programs that do the peers' work; those of foreign environments import nothing of this project but ``measuring``."""
