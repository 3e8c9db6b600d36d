"""The subcommands of ``vera``: one module each, with ``add`` (its arguments) and what it runs."""
