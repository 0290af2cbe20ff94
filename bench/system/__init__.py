"""The machine: disk, host, devices, the hub, random numbers and the terminal."""
