"""Training runs as processes of their own: request, progress, queue, comparison and promotion."""
