"""Networks and training policies for coherent diffraction data, compared honestly."""

__version__ = "0.1.0"
