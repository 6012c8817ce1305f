"""Pixels: files, metadata, the search for faces, their redaction, and the check."""
