"""Figures and pictures: plain data in, matplotlib figures and PNG files out."""
