"""What is produced, one module for each step from catalog to similar products."""
