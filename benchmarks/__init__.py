"""Measurements behind the numbers of the documentation; each module is run as a command."""
