"""The configuration: read, checked whole, and frozen before anything starts.

A refusal is one `ConfigError` (with the rest in `others`) that names file, line, key path, value and remedy. Nothing in
this package logs, watches or touches a photo; the environment is an argument. `defaults` and `recipes` do without
pydantic, so that `faceblurd blur` without a config does: it would be a sixth of its processor time.
"""
