"""Whether a release leaks: claimed members against known non-members, and data copying."""
