"""The components of the Read page in the browser: folders of ES modules that Streamlit serves as they are.

Streamlit serves a component's files, with their relative imports, where a package declares a folder for them. The app
also runs from a folder that is not installed, so the folders are declared here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

_ROOT = Path(__file__).parent
_PACKAGE, _VERSION = "pneumolens", "1"


def mount_component(name: str, **arguments: Any) -> Any:
    """Draw a component of this folder and return its state.

    Parameters
    ----------
    name
        The component in the folder ``<name>_component``, whose files are ``<name>.html``, ``<name>.css`` and the module
        ``<name>.js`` with what it imports.
    **arguments
        What Streamlit mounts it with: `key`, `data` and callbacks ``on_…_change``.
    """
    manager = get_bidi_component_manager()
    if manager.get_component_asset_root(f"{_PACKAGE}.{name}") is None:
        config = ComponentConfig(name, f"{name}_component")
        manager.register_from_manifest(ComponentManifest(_PACKAGE, _VERSION, [config]), _ROOT)
    return _component(name)(**arguments)


@cache
def _component(name: str) -> Callable[..., Any]:
    folder = _ROOT / f"{name}_component"
    html, css = ((folder / f"{name}.{kind}").read_text("utf-8") for kind in ("html", "css"))
    return st.components.v2.component(f"{_PACKAGE}.{name}", html=html, css=css, js=f"{name}.js")
