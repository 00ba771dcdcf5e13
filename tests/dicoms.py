"""Writes DICOM files of drawn chest radiographs, in every transfer syntax: nobody's patient, nobody's identifiers.

Written with pydicom, the encoders of its plug-ins and `tests.jpegs`, none of which the product reads with, so that a
test that reads one of these files compares two implementations.
"""

from __future__ import annotations

import io
import warnings
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import config, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import (
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.jpegs import extended_jpeg, lossless_jpeg
from tests.phantoms import chest

# Name → UID of every transfer syntax that is read.
SYNTAXES: dict[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG baseline": JPEGBaseline8Bit,
    "JPEG extended": JPEGExtended12Bit,
    "JPEG lossless": JPEGLossless,
    "JPEG lossless SV1": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG-LS near": JPEGLSNearLossless,
    "JPEG 2000 lossless": JPEG2000Lossless,
    "JPEG 2000": JPEG2000,
}
LOSSY = {"JPEG baseline", "JPEG extended", "JPEG-LS near", "JPEG 2000"}
_ROOT = "1.2.826.0.1.3680043.8.498.20261121"  # pydicom's own root: nobody's studies


def phantom_dicom(
    seed: int = 0,
    *,
    size: tuple[int, int] = (600, 720),
    pneumonia: bool = False,
    bits: int | None = None,
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    syntax: str = "explicit",
    stored: npt.NDArray[np.generic] | None = None,
    preamble: bool = True,
    meta: bool = True,
    **changes: object,
) -> bytes:
    """Write a chest radiograph as a DICOM file of computed radiography and return its bytes.

    The drawn picture fills `bits` stored bits: 8–16, and 12 unless said otherwise, or 8 where the syntax has no more.
    `signed` shifts it below zero; MONOCHROME1 stores it as its negative. `stored` replaces the drawn values as they
    are. `syntax` is a key of `SYNTAXES`. `preamble=False` leaves out the preamble and "DICM", `meta=False` these and
    the file meta information as well. Each of `changes` is a keyword of DICOM's dictionary and its value; None takes
    the element out, bytes are written as they are.
    """
    bits = bits or (8 if syntax == "JPEG baseline" else 12)
    if stored is None:
        stored = stored_values(_drawn(seed, size, pneumonia), bits, signed, photometric)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = f"{_ROOT}.{seed}.3"
    dataset.StudyDate, dataset.StudyTime = "20261121", "101500"
    dataset.AccessionNumber = f"A{seed}"
    dataset.Modality = "CR"
    dataset.PatientName, dataset.PatientID = "Phantom^Chest", f"PHANTOM-{seed}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "20230501", "F", "003Y"
    dataset.BodyPartExamined, dataset.ViewPosition = "CHEST", "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}.{seed}.1", f"{_ROOT}.{seed}.2"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, 1
    dataset.PixelSpacing = [0.15, 0.15]
    set_pixels(dataset, stored, bits, photometric, syntax)
    return as_file(dataset, syntax, preamble=preamble, meta=meta, **changes)


def dx_dicom(seed: int = 0, **changes: object) -> bytes:
    """Write a chest radiograph as digital radiography does: 14 bits, a window with its explanation, padding."""
    settings: dict[str, object] = {
        "bits": 14,
        "Modality": "DX",
        "SOPClassUID": DigitalXRayImageStorageForPresentation,
        "WindowCenter": 8191.5,
        "WindowWidth": 16384,
        "WindowCenterWidthExplanation": "CHEST",
        "PresentationLUTShape": "IDENTITY",
    }
    return phantom_dicom(seed, **{**settings, **changes})


def stored_values(
    picture: npt.NDArray[np.uint8], bits: int, signed: bool = False, photometric: str = "MONOCHROME2"
) -> npt.NDArray[np.generic]:
    """Stretch uint8 (H, W) over `bits` bits as a detector stores it: 8 or 16 bits allocated, signed or not."""
    most = 2**bits - 1
    values = np.round(picture * (most / 255)).astype(np.int64)
    if photometric == "MONOCHROME1":
        values = most - values
    if signed:
        return (values - 2 ** (bits - 1)).astype(np.int8 if bits <= 8 else np.int16)
    return values.astype(np.uint8 if bits <= 8 else np.uint16)


def lut_item(values: npt.NDArray[np.generic], first: int = 0, bits: int = 16, explanation: str = "") -> Dataset:
    """An item of a Modality or VOI LUT Sequence (PS3.3 C.11.1, C.11.2): `values` from the stored value `first` on."""
    item = Dataset()
    count = len(values) if len(values) < 65536 else 0
    item.add_new(
        0x00283002, "SS" if first < 0 else "US", [count if first >= 0 else count - 65536 * (count > 32767), first, bits]
    )
    if explanation:
        item.LUTExplanation = explanation
    item.add_new(0x00283006, "OW", np.asarray(values, "<u2").tobytes())
    return item


def code(value: str, scheme: str = "SCT", meaning: str = "") -> Sequence:
    """A code sequence of one item (PS3.3 section 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def set_pixels(dataset: Dataset, stored: npt.NDArray[np.generic], bits: int, photometric: str, syntax: str) -> None:
    """Set the Image Pixel module (PS3.3 C.7.6.3) for (H, W), encoded for the transfer syntax."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    uid = SYNTAXES[syntax]
    if uid.is_compressed and uid != DeflatedExplicitVRLittleEndian:
        dataset.add_new(0x7FE00010, "OB", encapsulate([encoded(stored, bits, syntax)]))
        dataset["PixelData"].is_undefined_length = True
    else:
        order = ">" if syntax == "big endian" else "<"
        raw = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
        dataset.add_new(
            0x7FE00010,
            "OW" if dataset.BitsAllocated > 8 or syntax == "implicit" else "OB",
            raw + b"\0" * (len(raw) % 2),
        )


def as_file(
    dataset: Dataset, syntax: str = "explicit", *, preamble: bool = True, meta: bool = True, **changes: object
) -> bytes:
    """Write a data set after changing elements in it; nothing is validated, since wrong files are what is wanted."""
    before = config.settings.reading_validation_mode, config.settings.writing_validation_mode
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    target = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for keyword, value in changes.items():
                _change(dataset, keyword, value, SYNTAXES[syntax])
            uid = SYNTAXES[syntax]
            head = FileMetaDataset()
            head.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or "1.2.3"
            head.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or f"{_ROOT}.0.3"
            head.TransferSyntaxUID = uid
            if meta:
                dcmwrite(
                    target, FileDataset(None, dataset, file_meta=head, preamble=bytes(128)), enforce_file_format=True
                )
            else:
                dcmwrite(
                    target,
                    dataset,
                    implicit_vr=uid.is_implicit_VR,
                    little_endian=uid.is_little_endian,
                    force_encoding=True,
                )
    finally:
        config.settings.reading_validation_mode, config.settings.writing_validation_mode = before
    written = target.getvalue()
    return written if preamble or not meta else written[132:]


@lru_cache(maxsize=32)
def _drawn(seed: int, size: tuple[int, int], pneumonia: bool) -> npt.NDArray[np.uint8]:
    return chest(seed, size, pneumonia)


def _change(dataset: Dataset, keyword: str, value: object, syntax: UID) -> None:
    """Set one element; bytes go into the file as they are, whatever the element's VR makes of them."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"expected a keyword of DICOM's dictionary. Received: {keyword}")
    if value is None:
        dataset.pop(tag, None)
    elif isinstance(value, bytes) and dictionary_VR(tag) not in ("OB", "OW", "OB or OW"):
        dataset[tag] = RawDataElement(
            BaseTag(tag), dictionary_VR(tag), len(value), value, 0, syntax.is_implicit_VR, syntax.is_little_endian
        )
    else:
        setattr(dataset, keyword, value)


def encoded(stored: npt.NDArray[np.generic], bits: int, syntax: str) -> bytes:
    """Encode (H, W) as one frame's code stream."""
    if syntax in ("JPEG baseline", "JPEG extended") and (
        stored.dtype.kind == "i" or bits > (8 if syntax == "JPEG baseline" else 12)
    ):
        raise ValueError(f"expected unsigned values of a depth that {syntax} has. Received: {bits} bits")
    if syntax == "JPEG baseline":
        target = io.BytesIO()
        Image.fromarray(stored.astype(np.uint8)).save(target, "JPEG", quality=95)
        return target.getvalue()
    if syntax == "JPEG extended":
        return extended_jpeg(stored, 8 if bits <= 8 else 12)
    if syntax.startswith("JPEG lossless"):
        return lossless_jpeg(stored, bits, 1 if syntax.endswith("SV1") else 4)
    rows, columns = stored.shape
    options: dict[str, object] = {"j2k_cr": [10]} if syntax == "JPEG 2000" else {}
    if syntax == "JPEG-LS near":
        options["jls_error"] = 2
    encoder = get_encoder(SYNTAXES[syntax])
    return encoder.encode(
        stored.tobytes(),
        rows=rows,
        columns=columns,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_stored=bits,
        bits_allocated=8 * stored.dtype.itemsize,
        pixel_representation=int(stored.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2",
        **options,
    )
