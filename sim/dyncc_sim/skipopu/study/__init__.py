"""What precision, skipping and policies of keys and values cost: measured, kept, drawn."""
