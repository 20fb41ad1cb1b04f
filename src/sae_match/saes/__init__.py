"""What a sparse autoencoder is, and where sparse autoencoders come from."""
