"""Runs ``worker.py … arguments`` with a mode appended as the last argument: ``with_mode.py mode worker.py …``."""

import os
import sys

mode, *command = sys.argv[1:]
os.execv(sys.executable, [sys.executable, *command, mode])  # noqa: S606 - no shell is what we want
