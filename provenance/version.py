"""The version of the software, recorded with every audit."""

__version__ = "0.1.0"
