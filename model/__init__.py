"""What a radiograph is and what the classifier says of it."""
