"""How fast layers are by their widths: on this machine, as measured, or on another, as a profile of it says."""
