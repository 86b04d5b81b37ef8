"""The version of lotlens, in one place; it knows nothing else."""

__version__ = "0.1.0"
