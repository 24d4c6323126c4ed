"""Images: from files on a disk to augmented batches, and models for them."""
