"""Reports of an assessment: printed page, PDF of many, JSON and DICOM objects."""
