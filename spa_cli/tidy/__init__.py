"""What an exporter left in a graph, folded: steps, each with one purpose, on a copy of the file's own ModelProto."""
