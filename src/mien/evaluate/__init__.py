"""How good a result is, in figures whose protocol is their name."""
