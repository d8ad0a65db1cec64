"""Which files are restored, and under which names."""
