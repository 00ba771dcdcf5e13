"""The ground floor: errors, files, settings and the purposes of reading."""
