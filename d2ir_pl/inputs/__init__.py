"""Which files are restored, under which names, and what they hold."""
