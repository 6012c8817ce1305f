"""Hiding: what a region is filled with, where its outline lies, and what may remain of it."""
