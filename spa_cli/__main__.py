"""``python -m spa_cli``."""

from spa_cli.cli import main

main()
