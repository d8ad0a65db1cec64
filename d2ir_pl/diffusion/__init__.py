"""What a diffusion prior is, and how to step with one."""
