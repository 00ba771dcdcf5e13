"""How a new classifier comes to be: audit a folder, split it by patient, fit, calibrate, evaluate."""
