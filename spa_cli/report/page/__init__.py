"""Reports as one self-contained HTML page each, by Jinja2 and matplotlib (``pip install 'spa-cli[report]'``)."""
