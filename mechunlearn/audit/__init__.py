"""An audit: plan, arms, estimates, report."""
