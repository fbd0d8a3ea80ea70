"""Fault campaigns: `python -m benchmarks.campaigns NAME --help`. Each prints a line, and fails if a promise is not kept."""

import importlib
import sys
from pathlib import Path

NAMES = sorted(
    path.stem.replace("_", "-")
    for path in Path(__file__).parent.glob("*.py")
    if path.stem != "stage" and not path.stem.startswith("_")
)


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"usage: python -m benchmarks.campaigns {'|'.join(NAMES)} …", file=sys.stderr)
        return 2
    campaign = importlib.import_module(f"benchmarks.campaigns.{sys.argv[1].replace('-', '_')}")
    return int(campaign.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
