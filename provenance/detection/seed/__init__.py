"""The published baseline (seed paper, section 3): threshold, sweep of alpha, logistic regression, Euclidean check."""
