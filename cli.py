"""The command line from a checkout: `python cli.py COMMAND`."""

from d2ir_pl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
