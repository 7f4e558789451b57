"""Sparse-storage-native dynamic sparse training."""
