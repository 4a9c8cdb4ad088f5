"""`python -m homing.cli`, the same as the program `homing`."""

from homing.cli import main

if __name__ == "__main__":
    main(prog_name="homing")
