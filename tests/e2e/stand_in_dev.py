"""`homing dev` with stand-ins: `stand_in_dev.py APP NODES PORT DATA_DIR`; STAND_IN says its kind."""

import sys
from pathlib import Path

from homing.cli.dev import Wish, develop
from homing.errors import ConfigurationError

PART = Path(__file__).with_name("stand_in_part.py")


def main(app: str, nodes: str, port: str, data_dir: str) -> None:
    wish = Wish(Path(app), int(nodes), int(port), Path(data_dir), command=(sys.executable, str(PART)))
    try:
        sys.exit(develop(wish))
    except ConfigurationError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main(*sys.argv[1:])
