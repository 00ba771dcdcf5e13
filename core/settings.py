"""Everything that an installation may set. The only reader of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from core.errors import SettingsError

# Of the tests and of CI, not of an installation.
_OF_TESTS = ("PNEUMOLENS_TEST_", "PNEUMOLENS_NIGHTLY")
# What a radiograph may be read for. "default" is the classifier version's own operating point; its card has the others.
PURPOSES = ("default", "screening", "balanced", "rule_in")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?", re.ASCII)
_LOOPBACK = {"127.0.0.1", "::1"}
SHIPPED_WEIGHTS = Path(__file__).parent.parent / "model" / "weights"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: the environment variable that holds it, its default, and what it does."""

    name: str
    default: str
    help: str


SETTINGS = (
    Setting(
        "PNEUMOLENS_DATA_DIR",
        "var",
        "Folder for the app's data: classifier versions, training runs, uploaded datasets.",
    ),
    Setting("PNEUMOLENS_CLASSIFIER", "", "Classifier version to serve instead of the active one."),
    Setting(
        "PNEUMOLENS_BACKBONE_WEIGHTS",
        "imagenet",
        "Initial weights of training: a local file, or imagenet to let Keras download them.",
    ),
    Setting(
        "PNEUMOLENS_ARCHITECTURES",
        "",
        "Network functions of your own that versions may use, package.module:function, separated by commas.",
    ),
    Setting(
        "PNEUMOLENS_DATA_ROOTS",
        "",
        "Folders, separated as in PATH. Only datasets below them, and uploads, can be trained on in the browser.",
    ),
    Setting(
        "PNEUMOLENS_PURPOSE",
        "default",
        "Operating point until a reader chooses another: default, screening, balanced or rule_in.",
    ),
    Setting(
        "PNEUMOLENS_PREVALENCE",
        "20",
        "Prevalence of pneumonia among the children imaged here, in percent, 1 to 90, for PPV and NPV.",
    ),
    Setting(
        "PNEUMOLENS_ORIGINS",
        "",
        "Addresses under which browsers reach the app through a reverse proxy, https://lens.example, separated by "
        "commas.",
    ),
    Setting(
        "PNEUMOLENS_PROXIES",
        "",
        "IP addresses or networks of the reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, "
        "separated by commas.",
    ),
    Setting(
        "PNEUMOLENS_FRAME_ANCESTORS",
        "",
        "Addresses of the portals that may show the app in a frame, https://portal.example, separated by commas.",
    ),
    Setting("PNEUMOLENS_CONNECTIONS", "200", "Pages that may be open at one time; a quarter of them from one address."),
    Setting(
        "PNEUMOLENS_UPLOAD_MB",
        "8000",
        "Memory for uploads on their way to their pages, in MB, of all browsers; half of it for one.",
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force.

    Attributes
    ----------
    purpose
        One of `PURPOSES`.
    prevalence
        In (0, 1): the site's share of pneumonia.
    origins, frame_ancestors
        Each scheme://host or scheme://host:port, in lower case.
    proxies
        Each an IP address or a network of them.
    """

    data_dir: Path
    classifier: str | None = None
    backbone_weights: str = "imagenet"
    architectures: tuple[str, ...] = ()
    data_roots: tuple[Path, ...] = ()
    purpose: str = PURPOSES[0]
    prevalence: float = 0.2
    shipped_weights: Path = SHIPPED_WEIGHTS
    origins: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    connections: int = 200
    upload_bytes: int = 8_000_000_000

    @property
    def versions_dir(self) -> Path:
        """The folder of the classifier versions made on this installation."""
        return self.data_dir / "versions"

    @property
    def runs_dir(self) -> Path:
        """Where training runs keep their state."""
        return self.data_dir / "runs"

    @property
    def datasets_dir(self) -> Path:
        """The folder of uploaded datasets, unpacked."""
        return self.data_dir / "datasets"

    @property
    def patient_key_file(self) -> Path:
        """File of the key with which patient IDs in DICOM headers are hashed."""
        return self.data_dir / "patient.key"

    @property
    def audits_dir(self) -> Path:
        """Where audits of datasets keep their state."""
        return self.data_dir / "audits"


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings.

    Parameters
    ----------
    environ
        The environment variables.

    Raises
    ------
    SettingsError
        For a PNEUMOLENS_ variable that does not exist, and for an invalid value.
    """
    known = {setting.name: setting.default for setting in SETTINGS}
    for name in environ:
        if name.startswith("PNEUMOLENS_") and name not in known and not name.startswith(_OF_TESTS):
            raise SettingsError(
                f"expected a setting of {', '.join(known)}. Received: {name}",
                advice=f"Correct or remove the environment variable {name}.",
            )
    values = {name: environ.get(name) or default for name, default in known.items()}
    return Settings(
        data_dir=Path(values["PNEUMOLENS_DATA_DIR"]).expanduser(),
        classifier=values["PNEUMOLENS_CLASSIFIER"] or None,
        backbone_weights=values["PNEUMOLENS_BACKBONE_WEIGHTS"],
        architectures=tuple(part.strip() for part in values["PNEUMOLENS_ARCHITECTURES"].split(",") if part.strip()),
        data_roots=tuple(
            Path(part.strip()).expanduser()
            for part in values["PNEUMOLENS_DATA_ROOTS"].split(os.pathsep)
            if part.strip()
        ),
        purpose=_purpose(values["PNEUMOLENS_PURPOSE"]),
        prevalence=_prevalence(values["PNEUMOLENS_PREVALENCE"]),
        origins=_addresses("PNEUMOLENS_ORIGINS", values),
        frame_ancestors=_addresses("PNEUMOLENS_FRAME_ANCESTORS", values),
        proxies=_proxies(values["PNEUMOLENS_PROXIES"]),
        connections=_count("PNEUMOLENS_CONNECTIONS", values, 100_000),
        upload_bytes=_count("PNEUMOLENS_UPLOAD_MB", values, 1_000_000) * 1_000_000,
    )


def _count(name: str, values: Mapping[str, str], most: int) -> int:
    value = values[name].strip()
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= most):
        raise SettingsError(
            f"expected {name} as a whole number from 1 to {most}. Received: {value}",
            advice=f"Set {name} to a whole number from 1 to {most}, or remove it.",
        )
    return int(value)


def _addresses(name: str, values: Mapping[str, str]) -> tuple[str, ...]:
    """Return origins as browsers write them; anything else would never match one, or would end up in a header."""
    found = tuple(part.strip().lower().rstrip("/") for part in values[name].split(",") if part.strip())
    for address in found:
        if not _ORIGIN.fullmatch(address):
            raise SettingsError(
                f"expected {name} as addresses such as https://lens.example:8443. Received: {address}",
                advice=f"Set {name} to addresses https://host or https://host:port, separated by commas.",
            )
    return found


def _proxies(value: str) -> tuple[str, ...]:
    """Return addresses and networks; one of the two loopback addresses stands for both."""
    found = [part.strip() for part in value.split(",") if part.strip()]
    for one in found:
        try:
            ip_network(one)
        except ValueError:
            raise SettingsError(
                f"expected PNEUMOLENS_PROXIES as addresses such as 10.0.0.5 or networks 10.0.0.0/24. Received: {one}",
                advice="Set PNEUMOLENS_PROXIES to the IP addresses of your reverse proxies, separated by commas.",
            ) from None
    if _LOOPBACK & set(found):
        found += sorted(_LOOPBACK - set(found))
    return tuple(found)


def _purpose(value: str) -> str:
    purpose = value.strip().lower().replace("-", "_")
    if purpose not in PURPOSES:
        raise SettingsError(
            f"expected PNEUMOLENS_PURPOSE of {', '.join(PURPOSES)}. Received: {value}",
            advice=f"Set PNEUMOLENS_PURPOSE to one of {', '.join(PURPOSES)}, or remove it.",
        )
    return purpose


def _prevalence(value: str) -> float:
    """Return the share that a whole number of percent stands for; a share itself, 0.2, would be taken for 0.2 %."""
    digits = value.strip().removesuffix("%").strip()
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 90):
        raise SettingsError(
            f"expected PNEUMOLENS_PREVALENCE as a whole percentage from 1 to 90. Received: {value}",
            advice="Set PNEUMOLENS_PREVALENCE to a whole number of percent from 1 to 90, or remove it.",
        )
    return int(digits) / 100
