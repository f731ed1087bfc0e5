"""Inputs: datasets that decode bytes to columns, and the sources that bring the bytes."""
