"""Numbers: pipelines, F25 units, functions, packed multipliers, normalisation, softmax."""
