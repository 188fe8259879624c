"""The command line: the only package that prints, reads the environment or asks a person.

commands.py  what each command does; folders.py  those that look after a folder; operators.py  after an installation
guard.py     the last border: errors told, the exit code
options.py   options in common, their precedence, and the settings made of them
edge.py      the environment: key, hosts, proxies
console.py   what is said, and where; log.py  what is said on stderr, as text or JSON
progress.py  the progress line; watch.py  status --watch; metrics.py  --metrics-file
"""

from batch.cli.guard import main

__all__ = ["main"]
