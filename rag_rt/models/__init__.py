"""Generators: how their weights are prepared and loaded."""
