"""Discrete optimisation of prompts; start at ``attack.py``."""
