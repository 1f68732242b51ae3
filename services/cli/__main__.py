"""``python -m services.cli``: what the command ``gantry`` runs."""

from services.cli import main

if __name__ == "__main__":
    main()
