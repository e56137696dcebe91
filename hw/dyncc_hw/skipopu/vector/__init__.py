"""The vector engine and its buffer."""
