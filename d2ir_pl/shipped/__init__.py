"""The shipped settings: where their files lie, what each is for, and how long it takes."""
