"""What an output is, and how far it moved in its own terms: classes, tokens, embeddings, masks, detections, values."""
