"""Linear maps on images, without parameters of a degradation."""
