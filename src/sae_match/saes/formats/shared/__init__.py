"""What every format needs: files of a folder or repository, their tensors and settings, and what they say of places."""
