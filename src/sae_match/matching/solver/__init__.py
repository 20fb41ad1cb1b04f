"""Linear assignment without the cost matrix: passes over pairs, candidates, exact assignment, certificate."""
