"""What every package uses: types of arrays, callbacks that report progress, compiled functions, missing extras."""
