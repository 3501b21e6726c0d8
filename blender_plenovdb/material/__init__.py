"""The material that evaluates a field's spherical harmonics and shows them as emission and absorption."""
