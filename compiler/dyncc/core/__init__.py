"""What every part of dyncc shares: errors, parameter checks and finding external tools."""
