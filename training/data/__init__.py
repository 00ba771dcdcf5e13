"""A folder of radiographs as samples, patients and augmented batches."""
