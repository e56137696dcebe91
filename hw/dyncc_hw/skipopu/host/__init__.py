"""What a host reaches over a line: registers, and the memory that it shares with the machine."""
