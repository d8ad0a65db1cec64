"""Measurements behind the numbers of the documentation.

Each is run as a module from the repository's root, such as `python -m benchmarks.quality`.
"""
