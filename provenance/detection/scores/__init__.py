"""Membership scores of real images: how likely each was used, from its neighbors."""
