"""Finding the products in a picture: detectors, their class vocabulary, labels and crops."""
