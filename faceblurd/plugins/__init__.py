"""What others add: hook specifications and their typed, isolating caller."""
