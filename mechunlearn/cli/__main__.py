"""``python -m mechunlearn.cli``."""

from mechunlearn.cli import main

main()
