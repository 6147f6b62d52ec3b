"""Workers of a stream: each owns some partitions, and walks the line for each of them."""
