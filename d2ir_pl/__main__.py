"""`python -m d2ir_pl` is the same program as `d2ir`."""

try:
    from d2ir_pl.cli import main
except KeyboardInterrupt:
    raise SystemExit(130) from None

if __name__ == "__main__":
    raise SystemExit(main())
