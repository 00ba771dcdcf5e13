"""Training of a classifier: audit, split by patient, fit, calibration, evaluation, comparison and promotion."""
