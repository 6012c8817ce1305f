"""Where photos are noticed: by events, and by the walk."""
