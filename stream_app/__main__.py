"""So that `python -m stream_app` is `vigil`."""

from stream_app.cli import main

if __name__ == "__main__":
    main()
