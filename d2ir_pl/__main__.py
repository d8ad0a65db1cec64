"""`python -m d2ir_pl` is the same program as `d2ir`."""

from d2ir_pl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
