"""The tests, by room, and what several of them draw or start."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
