from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import SETTINGS, load_settings
from tests import ROOT


def test_defaults_and_values() -> None:
    assert load_settings({}).data_dir == Path("var")
    assert load_settings({}).classifier is None
    settings = load_settings({"PNEUMOLENS_DATA_DIR": "/srv/x", "PNEUMOLENS_CLASSIFIER": "v", "HOME": "/root"})
    assert (settings.versions_dir, settings.classifier) == (Path("/srv/x/versions"), "v")


def test_data_roots_are_separated_like_a_path() -> None:
    assert load_settings({}).data_roots == ()
    roots = os.pathsep.join(("/srv/a", "", " /srv/b "))
    assert load_settings({"PNEUMOLENS_DATA_ROOTS": roots}).data_roots == (Path("/srv/a"), Path("/srv/b"))


def test_addresses_are_origins() -> None:
    settings = load_settings(
        {"PNEUMOLENS_ORIGINS": "https://Lens.example/, http://[::1]:85", "PNEUMOLENS_FRAME_ANCESTORS": ""}
    )
    assert (settings.origins, settings.frame_ancestors) == (("https://lens.example", "http://[::1]:85"), ())


def test_proxies_are_addresses_and_networks() -> None:
    assert load_settings({}).proxies == ()
    given = load_settings({"PNEUMOLENS_PROXIES": "10.0.0.5, 10.1.0.0/16,127.0.0.1"}).proxies
    assert given == ("10.0.0.5", "10.1.0.0/16", "127.0.0.1", "::1")
    for wrong in ("proxy.example", "*", "10.0.0.5/8", "10.0.0.256"):
        with pytest.raises(SettingsError, match="PNEUMOLENS_PROXIES"):
            load_settings({"PNEUMOLENS_PROXIES": wrong})


def test_a_misspelt_setting_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="PNEUMOLENS_DATADIR"):
        load_settings({"PNEUMOLENS_DATADIR": "/srv/x"})


def test_every_setting_stands_in_the_readme_with_its_default_and_help() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for setting in SETTINGS:
        row = next((line for line in readme.splitlines() if line.startswith(f"| `{setting.name}`")), "")
        assert f"`{setting.default}`" in row or not setting.default, setting.name
        assert setting.help in row, setting.name


@pytest.mark.parametrize(
    ("value", "purpose"),
    [("", "default"), ("screening", "screening"), (" Balanced ", "balanced"), ("rule-in", "rule_in")],
)
def test_the_sites_purpose(value: str, purpose: str) -> None:
    assert load_settings({"PNEUMOLENS_PURPOSE": value}).purpose == purpose
    assert load_settings({}).purpose == "default"


@pytest.mark.parametrize(("value", "share"), [("", 0.2), ("5", 0.05), (" 35 %", 0.35), ("90", 0.9), ("1%", 0.01)])
def test_the_sites_prevalence_is_a_percentage(value: str, share: float) -> None:
    assert load_settings({"PNEUMOLENS_PREVALENCE": value}).prevalence == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PNEUMOLENS_PURPOSE", "triage"),
        ("PNEUMOLENS_PURPOSE", "screening,balanced"),
        *(("PNEUMOLENS_ORIGINS", value) for value in ("lens.example", "https://*.example", "https://a.b/c", "null")),
        ("PNEUMOLENS_FRAME_ANCESTORS", "https://a.example; script-src evil.example"),
        *(("PNEUMOLENS_CONNECTIONS", value) for value in ("0", "-1", "1e3", "many")),
        ("PNEUMOLENS_UPLOAD_MB", "0"),
        *(("PNEUMOLENS_PREVALENCE", value) for value in ("0", "91", "0.2", "-5", "twenty", "12.5", "%", "٢٠")),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings({name: value})
    assert caught.value.advice.startswith(f"Set {name} to ")
