"""``python -m mts1b_deploy`` is ``mts1b-deploy``."""

from mts1b_deploy.cli import main

main()
