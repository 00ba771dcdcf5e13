"""Terms of DICOM headers for kinds of files, parts of the body and views, and their plain words.

Only words that clearly name another part lead to a refusal: many chest radiographs have a local term, or none.
"""

from __future__ import annotations

import re
import unicodedata

# Modality (PS3.3 C.7.3.1.1.1) → plain words, without those of projection radiography and ambiguous ones.
MODALITIES = {
    "CT": "computed tomography (CT)",
    "MR": "magnetic resonance (MR)",
    "US": "ultrasound",
    "NM": "nuclear medicine",
    "PT": "positron emission tomography (PET)",
    "MG": "a mammogram",
    "XA": "angiography",
    "IO": "a dental radiograph",
    "PX": "a panoramic dental radiograph",
    "ES": "endoscopy",
    "GM": "microscopy",
    "SM": "a microscope slide",
    "XC": "a photograph",
    "OP": "a photograph of the eye",
    "OPT": "tomography of the eye",
    "OCT": "optical coherence tomography",
    "IVUS": "ultrasound of a vessel",
    "IVOCT": "tomography of a vessel",
    "BMD": "a bone density measurement",
    "BDUS": "a bone density measurement",
    "ECG": "an electrocardiogram",
    "RTIMAGE": "a radiotherapy image",
    "RTDOSE": "a radiotherapy dose",
    "SEG": "a segmentation",
    "DMS": "dermoscopy",
    "TG": "a thermogram",
    "ST": "computed tomography (SPECT)",
    "DS": "angiography",
    "MA": "angiography",
    "OPM": "a map of the eye",
    "OAM": "a measurement of the eye",
}
# Beginnings of SOP class UIDs (PS3.4 section B.5) → the modality of their pictures.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
SOP_MODALITIES = {
    f"{_STORAGE}2": "CT",
    f"{_STORAGE}4": "MR",
    f"{_STORAGE}3.1": "US",
    f"{_STORAGE}6": "US",
    f"{_STORAGE}20": "NM",
    f"{_STORAGE}128": "PT",
    f"{_STORAGE}130": "PT",
    f"{_STORAGE}1.2": "MG",
    f"{_STORAGE}13.1.3": "MG",
    f"{_STORAGE}12.1": "XA",
    f"{_STORAGE}13.1.1": "XA",
    f"{_STORAGE}1.3": "IO",
    f"{_STORAGE}77.1.1": "ES",
    f"{_STORAGE}77.1.2": "GM",
    f"{_STORAGE}77.1.3": "SM",
    f"{_STORAGE}77.1.4": "XC",
    f"{_STORAGE}77.1.5": "OP",
    f"{_STORAGE}481.1": "RTIMAGE",
    f"{_STORAGE}481.2": "RTDOSE",
    f"{_STORAGE}66.4": "SEG",
}
# Beginnings of SOP class UIDs → what a file without a radiograph is.
DOCUMENTS = {
    "1.2.840.10008.1.3.10": "a DICOMDIR, which lists other files",
    f"{_STORAGE}104.1": "an encapsulated PDF document",
    f"{_STORAGE}104": "an encapsulated document",
    f"{_STORAGE}88": "a structured report",
    f"{_STORAGE}11": "a presentation state",
    f"{_STORAGE}9": "a waveform",
    f"{_STORAGE}481": "a radiotherapy object",
    f"{_STORAGE}66": "raw or derived data",
    f"{_STORAGE}77.1.1.1": "a video",
    f"{_STORAGE}77.1.2.1": "a video",
    f"{_STORAGE}77.1.4.1": "a video",
}
_VIDEO = "1.2.840.10008.1.2.4.10"  # .100 to .109: MPEG-2, H.264, HEVC
_READ = {
    "",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{k}" for k in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91)),
}

_PARTS = {
    "the head": "SKULL HEAD BRAIN CRANIUM CRANEO CRANIO CRANE SCHADEL SCHAEDEL KOPF FACIAL SINUS SINUSES ORBIT",
    "the teeth or the jaw": "TEETH TOOTH DENTAL DENTITION PANORAMIC OPG JAW MANDIBLE MAXILLA ZAHN ZAEHNE ZAHNE KIEFER",
    "the neck": "NECK HALS",
    "the spine": "SPINE CSPINE TSPINE LSPINE LSSPINE SSPINE THORACOLUMBAR LUMBAR SACRUM COCCYX HWS BWS LWS RACHIS "
    "WIRBELSAULE WIRBELSAEULE COLUMNA",
    "the shoulder": "SHOULDER SCHULTER EPAULE HOMBRO SPALLA OMBRO",
    "the arm or the hand": "ARM HUMERUS ELBOW FOREARM WRIST HAND FINGER THUMB RADIUS ULNA ELLENBOGEN ELLBOGEN UNTERARM "
    "OBERARM HANDGELENK COUDE POIGNET CODO MUNECA MANO GOMITO POLSO COTOVELO PUNHO EXM "
    "EXTREMITY EXTREMITIES",
    "the abdomen": "ABDOMEN ABDOMINAL KUB ADDOME COLON BLADDER STOMACH",
    "the pelvis or the hip": "PELVIS HIP HIPS BECKEN HUFTE HUEFTE BASSIN HANCHE CADERA BACINO ANCA BACIA QUADRIL",
    "the leg or the foot": "LEG FEMUR KNEE TIBIA FIBULA ANKLE FOOT FEET HEEL CALCANEUS TOE KNIE FUSS SPRUNGGELENK "
    "GENOU CHEVILLE PIED RODILLA TOBILLO GINOCCHIO CAVIGLIA PIEDE JOELHO TORNOZELO PATELLA",
    "the breast": "BREAST MAMMA MAMA",
}
_PART_OF = {word: part for part, words in _PARTS.items() for word in words.split()}
_CHEST = ("CHEST", "THORAX", "TORAX", "TORACE", "LUNG", "PULM", "POUMON", "POLMON", "CXR", "BRUSTKORB")

_LATERAL = {"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LATERALE", "PROFIL", "PERFIL", "SEITLICH"}
_OBLIQUE = {"LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "OBL", "OBLIQUE", "SCHRAG", "SCHRAEG", "OBLICUA", "OBLIQUO"}
_FRONTAL = {
    "PA": "PA",
    "AP": "AP",
    "FRONTAL": "FRONTAL",
    "LLD": "LLD",
    "RLD": "RLD",
    "POSTEROANTERIOR": "PA",
    "ANTEROPOSTERIOR": "AP",
    "FACE": "FRONTAL",
}
# View codes (PS3.16 CID 4010) in SNOMED CT and as SNOMED RT wrote them.
_VIEW_CODES = {
    "399348003": "AP",
    "R-10206": "AP",
    "272479007": "PA",
    "R-10214": "PA",
    "R-40888": "PA",
    "399033003": "FRONTAL",
    "R-10202": "FRONTAL",
    "399173006": "LL",
    "R-10236": "LL",
    "399198007": "RL",
    "R-10232": "RL",
    **dict.fromkeys(
        ("399067008", "R-102CD", "30730003", "G-A145", "399260004", "R-10224", "399352003", "R-10228"), "LATERAL"
    ),
}


def sop_class_name(uid: str, names: dict[str, str]) -> str | None:
    """Look up the SOP class `uid` by the longest matching prefix in `names`; prefixes end with a UID component."""
    matching = [key for key in names if uid == key or uid.startswith(f"{key}.")]
    return names[max(matching, key=len)] if matching else None


def is_video(syntax: str) -> bool:
    """Whether the transfer syntax UID is that of a video."""
    return syntax.startswith(_VIDEO) and len(syntax) > len(_VIDEO)


def is_supported(syntax: str) -> bool:
    """Whether a transfer syntax UID, "" where the file names none, is supported (PS3.5 section 10)."""
    return syntax in _READ


def other_body_part(*texts: str) -> str | None:
    """Return the part of the body that the texts name, in plain words; None for the chest and for unknown words."""
    words = [word for text in texts for word in _words(text)]
    if any(word.startswith(_CHEST) for word in words):
        return None
    return next((_PART_OF[word] for word in words if word in _PART_OF), None)


def view_position(text: str) -> str | None:
    """Return a view in DICOM's own terms, "PA", "AP", "LL", "RL", "LATERAL", "OBLIQUE" …; None if it names none or two.

    A decubitus view is frontal, whichever side is down.
    """
    words = set(_words(text.replace(".", "").replace("POSTERO-", "POSTERO").replace("ANTERO-", "ANTERO")))
    frontal = {_FRONTAL[word] for word in words if word in _FRONTAL}
    if any(word.startswith("DECUB") for word in words):
        return min(frontal, default=None)
    lateral = {word if word in ("LL", "RL") else "LATERAL" for word in words & _LATERAL}
    if words & _OBLIQUE:
        return "OBLIQUE"
    found = frontal | lateral
    return found.pop() if len(found) == 1 else None


def view_of_code(value: str, meaning: str) -> str | None:
    """Return the view of an item of ViewCodeSequence in the terms of `view_position`, None if unknown.

    Parameters
    ----------
    value
        CodeValue of the item.
    meaning
        CodeMeaning, used where the value is unknown.

    References
    ----------
    PS3.16 CID 4010, DX View.
    """
    return _VIEW_CODES.get(value) or view_position(meaning.upper())


def _words(text: str) -> list[str]:
    """Return the words of a text in capitals and without accents."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss").upper())
    return re.findall("[A-Z]+", "".join(char for char in plain if not unicodedata.combining(char)))
