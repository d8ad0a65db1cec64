"""A page in the browser that restores one photo after the other."""
