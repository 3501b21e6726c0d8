"""Training jobs: the request, the folder they live in, and what watches them (contracts/job_folder.md)."""
