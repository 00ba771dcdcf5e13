"""The purposes that a radiograph may be read for."""

from __future__ import annotations

# "default" is the classifier version's own operating point; the card's `purposes` hold the others.
PURPOSES = ("default", "screening", "balanced", "rule_in")
