"""``python -m autoaccel``."""

from .cli import main

if __name__ == "__main__":
    main()
