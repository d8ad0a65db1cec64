"""What `d2ir` offers: a file for each command, and the options they share."""
