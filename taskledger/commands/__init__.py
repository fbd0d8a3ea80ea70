"""The commands of taskledger, one module a kind; cli.py finds them here when they are asked for."""
