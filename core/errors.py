"""The errors that the product raises on purpose.

    AppError                     anything a person can act on
    ├── RadiographError          the file is not a radiograph that can be read
    ├── ArchiveError             a zip archive, or a file in it, cannot or must not be unpacked
    ├── ClassifierError          a classifier version is missing, damaged or does not fit
    ├── DatasetError             a training folder cannot be used
    ├── RunError                 a training run is not there, or not in a state for what is asked
    ├── ResourceError            this machine lacks disk or memory
    ├── SignInError              a code or password is wrong, too weak, or asked too often
    └── SettingsError            a setting has an invalid value

Each carries `advice`, one sentence that a clinician or administrator can act on; the message itself says what was
expected and what was received. Neither holds a file name, since names can hold patient data.
"""

from __future__ import annotations


class AppError(Exception):
    """Something went wrong that a person can act on; `advice` says how."""

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class RadiographError(AppError):
    """The file cannot be read as a radiograph; `code` names the reason in capitals, e.g. "UNREADABLE"."""

    def __init__(self, message: str, *, advice: str, code: str = "UNREADABLE") -> None:
        super().__init__(message, advice=advice)
        self.code = code


class ArchiveError(AppError):
    """A zip archive, or a file in it, cannot or must not be unpacked; `code` is one of RadiographError's."""

    def __init__(self, message: str, *, advice: str, code: str = "UNREADABLE") -> None:
        super().__init__(message, advice=advice)
        self.code = code


class ClassifierError(AppError):
    """A classifier version is missing, damaged or does not fit this software."""


class DatasetError(AppError):
    """A training folder cannot be used."""


class RunError(AppError):
    """A training run is not there, or not in a state for what is asked."""


class ResourceError(AppError):
    """This machine lacks the disk or the memory for what is asked."""


class SignInError(AppError):
    """A code or password is wrong, too weak, or was tried too often. Never holds what was typed."""


class SettingsError(AppError):
    """A setting has an invalid value."""
