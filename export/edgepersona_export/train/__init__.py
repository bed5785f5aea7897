"""Trains a persona head against a bundle's frozen models."""
