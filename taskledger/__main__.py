"""`python -m taskledger` is `taskledger`."""

from taskledger.cli import main

if __name__ == "__main__":
    main()
