"""The command line from a checkout: `python cli.py COMMAND`."""

try:
    from d2ir_pl.cli import main
except KeyboardInterrupt:
    raise SystemExit(130) from None

if __name__ == "__main__":
    raise SystemExit(main())
