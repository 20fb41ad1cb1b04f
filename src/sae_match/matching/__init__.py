"""The mathematics of matching: costs, exact assignment with a certificate, composition."""
