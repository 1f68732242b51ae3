"""Gantry: a PACS as a fleet of small services."""
