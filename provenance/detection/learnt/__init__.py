"""A membership score that learns from images known used and never used what a generator remembers. Pure."""
