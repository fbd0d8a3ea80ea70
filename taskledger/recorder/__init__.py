"""The recorder: reads a broker's events raw and writes each of them into the ledger."""
