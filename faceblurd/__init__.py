"""faceblurd keeps recognisable faces out of the photos that are published from watched folders."""

__version__ = "0.1.0"
