"""What every package uses: types of arrays, callbacks that report progress, functions compiled to machine code, extras."""
