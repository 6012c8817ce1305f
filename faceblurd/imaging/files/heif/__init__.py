"""AVIF and HEIC: ISO base media files, read and written item by item."""
