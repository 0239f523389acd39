"""Weights that can hold zeros, patterns of zeros, and packed formats."""
