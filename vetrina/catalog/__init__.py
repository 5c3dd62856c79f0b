"""Reading of catalogs: files of products, each with an id and a picture."""
