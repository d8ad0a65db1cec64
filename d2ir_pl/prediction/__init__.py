"""Restoration of folders through Lightning."""
