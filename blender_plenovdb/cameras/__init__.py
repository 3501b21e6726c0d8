"""The job's cameras in Blender: reading cameras.json, exact intrinsics, camera objects."""
