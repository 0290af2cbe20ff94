"""What changes the calibrated graph before it is kept and executed: one module for each method."""
