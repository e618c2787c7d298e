"""What computing costs: memory, seconds, downloads; knows no attack by name."""
