"""Batches of photos, with or without Lightning: how each is restored, and what is tried for it."""
