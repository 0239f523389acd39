"""Kernel families, one file each, written in TIR."""
