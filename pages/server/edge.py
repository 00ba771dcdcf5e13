"""The middleware between the network and Streamlit, in the order in which a request meets them."""

from __future__ import annotations

from starlette.middleware import Middleware

from core.settings import Settings
from pages.server import limits
from pages.server.connections import ForwardedHeaders
from pages.server.headers import SecurityHeaders
from pages.server.message_limit import MessageLimit
from pages.server.origin import OriginGuard
from pages.server.visit_guard import VisitGuard


def middleware(settings: Settings) -> list[Middleware]:
    """Return the middleware for `st.App`, the outermost first."""
    return [
        Middleware(ForwardedHeaders, proxies=settings.proxies),
        Middleware(SecurityHeaders, frame_ancestors=settings.frame_ancestors),
        Middleware(OriginGuard, origins=settings.origins),
        Middleware(limits.ConnectionLimit, most=settings.connections),
        Middleware(VisitGuard, origins=settings.origins, on_end=limits.BUDGET.release),
        Middleware(MessageLimit),
        Middleware(limits.UploadLimit, most=settings.upload_bytes),
    ]
