"""The PE array, matrix products and attention."""
