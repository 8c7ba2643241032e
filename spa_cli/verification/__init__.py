"""onnxruntime: runs, same signature, how far outputs moved, how fast."""
