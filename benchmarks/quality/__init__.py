"""The evaluation of adaptation: plain commands, cell by cell, each finished one a small JSON file."""
