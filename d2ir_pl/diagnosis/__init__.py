"""What is wrong with a photo, and how to restore it."""
