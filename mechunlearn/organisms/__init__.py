"""Tiny models whose knowledge is known: shipped weights, and the recipe that trains them."""
