"""Performance of a classifier version on radiographs with labels."""
