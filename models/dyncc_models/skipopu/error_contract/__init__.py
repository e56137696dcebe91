"""The error contract of SkipOPU's arithmetic: bounds, and what is measured against float64."""
