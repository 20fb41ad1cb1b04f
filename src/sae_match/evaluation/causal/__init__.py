"""Does the match cause anything? Features are switched off, and what follows is looked at."""
