"""The version of this package; what an audit kept under another one is computed anew."""

__version__ = "0.5.1"
