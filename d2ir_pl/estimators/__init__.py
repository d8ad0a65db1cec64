"""Numbers that are read off one photo."""
