"""Keys and values: slots, places on chip, the history."""
