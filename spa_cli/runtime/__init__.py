"""onnxruntime: opening sessions, making inputs, running node by node, timing."""
