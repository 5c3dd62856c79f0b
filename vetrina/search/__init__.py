"""Search: similar products for a picture or a product, and how to show them."""
