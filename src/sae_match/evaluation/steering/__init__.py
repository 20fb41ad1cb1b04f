"""What does a feature do to those that its matchings lead to? Its direction is added, and its path is looked at."""
