"""Measurements against named peers; see README.md beside this file."""
