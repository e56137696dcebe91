"""The device's side of the framed link of `dyncc.arch.link`; knows nothing of what is behind it."""
