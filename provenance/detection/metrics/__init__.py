"""How good labels and scores are where truth is known, with intervals."""
