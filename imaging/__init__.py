"""From the bytes of a file to a radiograph: pictures, DICOM, archives, orientation and borders."""
