"""Measurements, as ratios against a control that runs in the same minutes."""
