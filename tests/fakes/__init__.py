"""Scripted servers and clocks that stand in for services of others."""
