"""The command line: the only package that prints, reads the environment or asks a person.

commands.py  what each command does
options.py   options in common, their precedence, and the settings made of them
edge.py      the environment: key, hosts, proxies
console.py   what is said, and where
progress.py  the progress line
"""

from batch.cli.commands import main

__all__ = ["main"]
