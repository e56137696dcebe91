"""The sequencer, and what starts and stops the machine."""
