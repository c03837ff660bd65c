"""`rooms`, the embedded data set: rendered indoor scenes."""
