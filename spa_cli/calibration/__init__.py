"""The user's samples: array files, images, text, saved datasets, functions, all as arrays the model takes."""
