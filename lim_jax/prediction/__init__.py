"""What a trained network says: evaluation on a split, prediction for image files."""
