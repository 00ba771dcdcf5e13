"""The visitor of a page as the server sees them."""

from __future__ import annotations

import streamlit as st

from records.throttle import LOCAL


def source() -> str:
    """Return the client's network address, `LOCAL` where the browser runs on the server itself.

    Behind a reverse proxy it is the proxy's address, unless the server is told to trust the proxy's headers.
    """
    address = st.context.ip_address
    return address if isinstance(address, str) else LOCAL  # no string where a test runs a page without a server
