"""Which of some features are one over layers? Significant matchings join them to groups that circuit tools can read."""
