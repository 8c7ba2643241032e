"""A plan carried out on the framework's own weights: state_dict files, safetensors, npz."""
