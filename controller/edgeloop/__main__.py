"""``python -m edgeloop``."""

from edgeloop.interfaces.cli.main import main

if __name__ == "__main__":
    main()
