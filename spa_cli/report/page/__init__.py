"""Reports as one self-contained HTML page each, by Jinja2 and matplotlib (extra ``report``)."""
