"""What goes on in the shop, and who may do something about it."""
