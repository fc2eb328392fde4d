"""What users test their flows with: fakes, conformance suites, a simulated network."""
