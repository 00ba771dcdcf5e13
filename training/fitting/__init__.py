"""The fit of a network: configuration, loop, calibration and model card."""
