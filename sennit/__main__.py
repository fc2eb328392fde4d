"""Run the command as ``python -m sennit``."""

from sennit import main

if __name__ == "__main__":
    main()
