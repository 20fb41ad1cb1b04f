"""Is this pair a match? Nulls, statistics, p- and q-values of matchings."""
