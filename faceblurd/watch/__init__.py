"""Where photos are noticed: the watcher and the scanner."""
