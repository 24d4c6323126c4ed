"""The commands of the command line, one a module: `options(parser)` and `run(args)`."""

__all__: list[str] = []
