"""``python -m mechunlearn.cli``."""

from mechunlearn.cli import main

if __name__ == "__main__":
    main()
