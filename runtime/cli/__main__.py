"""Run the command as ``python -m runtime.cli``."""

from runtime.cli.entry import main

if __name__ == "__main__":
    main()
