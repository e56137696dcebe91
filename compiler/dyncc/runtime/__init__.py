"""Runs compiled networks; imports neither torch nor any stage of the compiler."""
