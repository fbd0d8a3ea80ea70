"""`taskledger demo`: a whole set-up in one process, with nothing to install or configure."""
