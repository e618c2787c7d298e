"""From the finished cells of an audit to its report."""
