"""The pages that only an administrator may open."""
