"""Runs a plan beside the original and judges both."""
