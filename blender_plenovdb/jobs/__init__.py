"""Training jobs: the job folder and the command line, from the launcher's side. Imports no bpy."""
