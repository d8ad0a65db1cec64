"""Training of a prior through Lightning."""
