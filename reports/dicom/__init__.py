"""DICOM objects of an assessment: structured report and secondary capture."""
