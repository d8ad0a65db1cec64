"""What shows the results of runs to people."""
