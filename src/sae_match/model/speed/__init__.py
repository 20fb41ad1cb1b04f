"""What makes a frozen model faster and changes nothing that it says."""
