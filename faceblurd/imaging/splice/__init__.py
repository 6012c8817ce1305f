"""JPEG surgery: hide regions by replacing the blocks they cover; every other bit of the picture is copied.

`layout` reads what the headers say, `areas` does the geometry, `painting` redacts coefficients, `surgery` puts it
together. The bit loop is C (`splice.c`, loaded by `native`), or the same in Python (`fallback`).
"""
