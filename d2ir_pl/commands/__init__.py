"""The commands of `d2ir`: a file for each, and those that parse the options they share."""
