"""Copies: is a generated image, or a piece of it, a real one again? Retrieve, register, measure, calibrate. Pure."""
