"""What was done to which bytes, what is held, and what can be forgotten: SQLite, one writer."""
