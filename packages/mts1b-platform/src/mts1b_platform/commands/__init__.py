"""The nouns of the ``mts1b`` command: one file each, named like the noun, holding ``app``.

A file that appears here is a noun; nothing needs to be registered. Its docstring's first line is the noun's line in
``mts1b --help``. Other packages contribute nouns through the entry point group ``mts1b.commands``
(``noun = "package.module:app"``).
"""
