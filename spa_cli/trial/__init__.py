"""Cuts that are tried: chosen under a budget, made, verified, searched among."""
