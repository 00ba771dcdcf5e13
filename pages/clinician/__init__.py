"""Pages for the people who read radiographs."""
