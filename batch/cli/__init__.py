"""The command line: it alone prints, reads the environment and asks a person (the process of a local server prints its URL).

Begin with `commands.py`: each command parses its options, calls the package and reports the outcome. Most call one function;
`resolve` and `retry` call a few in turn, because a person decides between them.

    main             the entry point: standard streams, exit codes
    commands         run, retry, plan, validate
    admin_commands   status, report, resolve, restore, doctor, completion
    serve_command    serve
    options          the options in common, their types and precedence, the settings made from them
    environment      API key, hosts, proxies
    console          what a person sees; log: events on stderr as text or JSON
    status_screen    status --watch; metrics_file: --metrics-file
    reference        writes docs/COMMANDS.md

It may import every other package, and nothing imports it.
"""

from batch.cli.main import main

__all__ = ["main"]
