"""Discrete optimisation of prompts; ``attack.py`` says what and whence."""
