"""What a slide of the adapt loop costs, by stage and size of the catalogue."""
