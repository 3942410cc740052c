"""The values that the stages hand to each other: frozen, without I/O, standard library only."""
