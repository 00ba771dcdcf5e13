"""Assessment of a radiograph: networks, versions, calibration, the gate and evidence maps."""
