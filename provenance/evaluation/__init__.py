"""Audits against truth: ``truth`` (rows of labels) -> ``matching`` (which image each is about) -> ``judged`` (what
audits said).
"""
