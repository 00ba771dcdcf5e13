"""A DICOM file: its elements, header, pixel data and grayscale."""
