"""An assessment as PDF and JSON, for people and programs."""
