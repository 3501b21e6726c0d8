"""The command line (contracts/command_line.md): one module per command, heavy imports only when a command runs."""
