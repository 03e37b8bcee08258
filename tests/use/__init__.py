"""Tests of what a trained model is good for."""
