"""What taskledger puts into other programs: nothing here is imported by the rest, and nothing here imports the rest."""
