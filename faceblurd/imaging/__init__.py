"""Pixels: formats, detectors, redaction, metadata."""
