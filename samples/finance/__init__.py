"""Cash and commercial paper: two contracts, and the flows that move them."""
