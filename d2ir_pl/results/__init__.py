"""What lies in an output folder."""
