"""Training of kernel banks; reached by the command line's training commands only."""
