"""Programs that do the peers' work; they import nothing of this project."""
