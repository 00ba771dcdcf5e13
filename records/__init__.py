"""Records of this installation: the administrator account."""
