"""The shipped settings: where their files lie, and what each is for."""
